// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"flag"
	"fmt"
	"net"
	"os"
	"os/signal"
	"sync"
	"syscall"
	"time"

	"github.com/pingcap/kvproto/pkg/metapb"
	"github.com/pingcap/kvproto/pkg/pdpb"
	"github.com/pingcap/kvproto/pkg/tikvpb"
	"go.etcd.io/etcd/api/v3/etcdserverpb"
	"google.golang.org/grpc"
	"google.golang.org/grpc/health"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
)

const (
	clusterID = 7_000_000_000_000_000_001
	regionID  = 4
	storeID   = 1
	// The low bits of a timestamp count within a millisecond.
	logicalBits = 18
)

// PD and store share one port: a client sees two services at one address.
func serve(arguments []string) {
	flags := flag.NewFlagSet("serve", flag.ExitOnError)
	address := flags.String("address", "127.0.0.1:0", "where to listen; port 0 picks a free one")
	check(flags.Parse(arguments))

	listener, err := net.Listen("tcp", *address)
	check(err)
	bound := listener.Addr().String()
	server := grpc.NewServer(
		grpc.InitialWindowSize(16<<20), grpc.InitialConnWindowSize(16<<20), grpc.MaxRecvMsgSize(64<<20),
	)
	pdpb.RegisterPDServer(server, &placementDriver{address: bound})
	tikvpb.RegisterTikvServer(server, &store{})
	stub := &etcd{address: bound}
	etcdserverpb.RegisterClusterServer(server, stub)
	etcdserverpb.RegisterKVServer(server, stub)
	healthpb.RegisterHealthServer(server, health.NewServer())

	signals := make(chan os.Signal, 1)
	signal.Notify(signals, syscall.SIGINT, syscall.SIGTERM)
	go func() {
		<-signals
		server.Stop()
	}()
	fmt.Println("serving " + bound)
	check(server.Serve(listener))
}

type placementDriver struct {
	pdpb.UnimplementedPDServer
	address string
	mutex   sync.Mutex
	last    uint64
}

func (p *placementDriver) header() *pdpb.ResponseHeader {
	return &pdpb.ResponseHeader{ClusterId: clusterID}
}

func (p *placementDriver) store() *metapb.Store {
	return &metapb.Store{Id: storeID, Address: p.address, State: metapb.StoreState_Up, Version: "8.5.0", LastHeartbeat: time.Now().UnixNano()}
}

func (p *placementDriver) region() *metapb.Region {
	return &metapb.Region{
		Id:          regionID,
		RegionEpoch: &metapb.RegionEpoch{ConfVer: 1, Version: 1},
		Peers:       []*metapb.Peer{leader()},
	}
}

func leader() *metapb.Peer { return &metapb.Peer{Id: 5, StoreId: storeID} }

func (p *placementDriver) GetClusterInfo(context.Context, *pdpb.GetClusterInfoRequest) (*pdpb.GetClusterInfoResponse, error) {
	return &pdpb.GetClusterInfoResponse{Header: p.header(), ServiceModes: []pdpb.ServiceMode{pdpb.ServiceMode_PD_SVC_MODE}}, nil
}

func (p *placementDriver) GetMembers(context.Context, *pdpb.GetMembersRequest) (*pdpb.GetMembersResponse, error) {
	url := "http://" + p.address
	member := &pdpb.Member{Name: "pd-1", MemberId: 1, PeerUrls: []string{url}, ClientUrls: []string{url}, BinaryVersion: "v8.5.0"}
	return &pdpb.GetMembersResponse{Header: p.header(), Members: []*pdpb.Member{member}, Leader: member, EtcdLeader: member}, nil
}

func (p *placementDriver) Tso(stream pdpb.PD_TsoServer) error {
	for {
		request, err := stream.Recv()
		if err != nil {
			return err
		}
		last := p.nextTimestamp(uint64(request.Count))
		answer := &pdpb.TsoResponse{
			Header: p.header(), Count: request.Count,
			Timestamp: &pdpb.Timestamp{Physical: int64(last >> logicalBits), Logical: int64(last & (1<<logicalBits - 1))},
		}
		if err := stream.Send(answer); err != nil {
			return err
		}
	}
}

// The last of so many timestamps; clients end the process when time goes back.
func (p *placementDriver) nextTimestamp(count uint64) uint64 {
	p.mutex.Lock()
	defer p.mutex.Unlock()
	p.last = max(p.last, uint64(time.Now().UnixMilli())<<logicalBits) + count
	return p.last
}

func (p *placementDriver) IsBootstrapped(context.Context, *pdpb.IsBootstrappedRequest) (*pdpb.IsBootstrappedResponse, error) {
	return &pdpb.IsBootstrappedResponse{Header: p.header(), Bootstrapped: true}, nil
}

func (p *placementDriver) GetStore(context.Context, *pdpb.GetStoreRequest) (*pdpb.GetStoreResponse, error) {
	return &pdpb.GetStoreResponse{Header: p.header(), Store: p.store()}, nil
}

func (p *placementDriver) GetAllStores(context.Context, *pdpb.GetAllStoresRequest) (*pdpb.GetAllStoresResponse, error) {
	return &pdpb.GetAllStoresResponse{Header: p.header(), Stores: []*metapb.Store{p.store()}}, nil
}

func (p *placementDriver) GetClusterConfig(context.Context, *pdpb.GetClusterConfigRequest) (*pdpb.GetClusterConfigResponse, error) {
	return &pdpb.GetClusterConfigResponse{Header: p.header(), Cluster: &metapb.Cluster{Id: clusterID, MaxPeerCount: 1}}, nil
}

// Nothing is ever collected.
func (p *placementDriver) GetGCState(context.Context, *pdpb.GetGCStateRequest) (*pdpb.GetGCStateResponse, error) {
	return &pdpb.GetGCStateResponse{Header: p.header(), GcState: &pdpb.GCState{}}, nil
}

func (p *placementDriver) GetRegion(context.Context, *pdpb.GetRegionRequest) (*pdpb.GetRegionResponse, error) {
	return &pdpb.GetRegionResponse{Header: p.header(), Region: p.region(), Leader: leader()}, nil
}

func (p *placementDriver) GetPrevRegion(context.Context, *pdpb.GetRegionRequest) (*pdpb.GetRegionResponse, error) {
	return &pdpb.GetRegionResponse{Header: p.header(), Region: p.region(), Leader: leader()}, nil
}

func (p *placementDriver) GetRegionByID(context.Context, *pdpb.GetRegionByIDRequest) (*pdpb.GetRegionResponse, error) {
	return &pdpb.GetRegionResponse{Header: p.header(), Region: p.region(), Leader: leader()}, nil
}

func (p *placementDriver) ScanRegions(context.Context, *pdpb.ScanRegionsRequest) (*pdpb.ScanRegionsResponse, error) {
	return &pdpb.ScanRegionsResponse{
		Header: p.header(), RegionMetas: []*metapb.Region{p.region()}, Leaders: []*metapb.Peer{leader()},
		Regions: []*pdpb.Region{{Region: p.region(), Leader: leader()}},
	}, nil
}

func (p *placementDriver) BatchScanRegions(context.Context, *pdpb.BatchScanRegionsRequest) (*pdpb.BatchScanRegionsResponse, error) {
	return &pdpb.BatchScanRegionsResponse{Header: p.header(), Regions: []*pdpb.Region{{Region: p.region(), Leader: leader()}}}, nil
}
