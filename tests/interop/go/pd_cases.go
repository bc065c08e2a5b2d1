// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/pingcap/kvproto/pkg/keyspacepb"
	"github.com/pingcap/kvproto/pkg/metapb"
	"github.com/pingcap/kvproto/pkg/pdpb"
	pd "github.com/tikv/pd/client"
	"github.com/tikv/pd/client/clients/router"
	"github.com/tikv/pd/client/opt"
)

// The calls of the PD client, some through client-go's key codec, as its region cache makes them.
func pdCases() []testCase {
	return []testCase{
		{"[PD-006] [PD-020] GetAllMembers() names the leader that the client found", everyAPI, func(t *trial) {
			client := t.connectPD()
			members, err := client.GetAllMembers(t.ctx)
			t.must("GetAllMembers", err)
			t.isTrue("GetAllMembers: cluster id", members.GetHeader().GetClusterId() != 0, members.GetHeader())
			t.equal("GetClusterID", client.GetClusterID(t.ctx), members.GetHeader().GetClusterId())
			t.isTrue("GetLeaderURL "+client.GetLeaderURL(), slices.Contains(members.GetLeader().GetClientUrls(), client.GetLeaderURL()), members.GetLeader())
			named := slices.ContainsFunc(members.Members, func(m *pdpb.Member) bool {
				return m.GetMemberId() == members.GetLeader().GetMemberId()
			})
			t.isTrue("GetAllMembers: the leader is a member", named, members.Members)
		}},
		{"[PD-031] [PD-032] 10 000 concurrent GetTS() are distinct and newer than those before", everyAPI, func(t *trial) {
			t.timestamps(t.connectPD())
		}},
		{"[PD-033] four timestamp requests at a time stay distinct and ordered", everyAPI, func(t *trial) {
			client := t.connectPD()
			t.must("UpdateOption", client.UpdateOption(opt.TSOClientRPCConcurrency, 4))
			t.timestamps(client)
		}},
		{"[PD-040] GetMinTS() is a timestamp between two others", everyAPI, func(t *trial) {
			client := t.connectPD()
			var seen [3]uint64
			for i, get := range []func(context.Context) (int64, int64, error){client.GetTS, client.GetMinTS, client.GetTS} {
				ts, err := steady(t.ctx, get)
				t.must("GetTS", err)
				seen[i] = ts
			}
			t.isTrue("GetTS, GetMinTS, GetTS", seen[0] < seen[1] && seen[1] < seen[2], seen)
			drift := time.Since(time.UnixMilli(int64(seen[2] >> 18))).Abs()
			t.isTrue("GetTS: physical part against the clock", drift < 10*time.Second, drift)
		}},
		{"[PD-050] GetRegion(), GetPrevRegion() and GetRegionByID() agree", everyAPI, func(t *trial) {
			t.regions(t.connect().GetPDClient())
		}},
		{"[PD-051] the same over the stream of region questions", everyAPI, func(t *trial) {
			client := t.connect()
			t.must("UpdateOption", client.GetPDClient().UpdateOption(opt.EnableRouterClient, true))
			t.regions(client.GetPDClient())
		}},
		{"[PD-012] the same when followers may answer", everyAPI, func(t *trial) {
			client := t.connect()
			t.must("UpdateOption", client.GetPDClient().UpdateOption(opt.EnableFollowerHandle, true))
			t.regions(client.GetPDClient(), opt.WithAllowFollowerHandle(), opt.WithBuckets())
		}},
		{"[PD-054] GetRegionFromMember() asks the members that are named", everyAPI, func(t *trial) {
			client := t.connectPD()
			region, err := client.GetRegionFromMember(t.ctx, t.key("a"), []string{client.GetLeaderURL()})
			t.must("GetRegionFromMember", err)
			t.isTrue("GetRegionFromMember", region != nil && region.Meta.GetId() != 0, region)
		}},
		{"[PD-052] ScanRegions() lists neighbours in order, up to the limit", everyAPI, func(t *trial) {
			client, keys := t.connect().GetPDClient(), t.keys(5)
			t.must("split", t.askSplit(keys...))
			//nolint:staticcheck // deprecated, and still what old clients call
			all, err := client.ScanRegions(t.ctx, keys[0], keys[4], 100)
			t.must("ScanRegions", err)
			t.equal("ScanRegions: bounds", bounds(all), keys)
			//nolint:staticcheck
			two, err := client.ScanRegions(t.ctx, keys[1], keys[4], 2)
			t.must("ScanRegions with a limit", err)
			t.equal("ScanRegions with a limit: bounds", bounds(two), keys[1:4])
		}},
		{"[PD-053] BatchScanRegions() lists each region of several ranges once", everyAPI, func(t *trial) {
			client, keys := t.connect().GetPDClient(), t.keys(6)
			t.must("split", t.askSplit(keys...))
			ranges := []router.KeyRange{
				{StartKey: keys[0], EndKey: append(slices.Clone(keys[1]), 1)},
				{StartKey: append(slices.Clone(keys[1]), 2), EndKey: keys[2]}, {StartKey: keys[3], EndKey: keys[5]},
			}
			found, err := client.BatchScanRegions(t.ctx, ranges, 100, opt.WithOutputMustContainAllKeyRange(), opt.WithBuckets())
			t.must("BatchScanRegions", err)
			t.equal("BatchScanRegions: starts", starts(found), [][]byte{keys[0], keys[1], keys[3], keys[4]})
			found, err = client.BatchScanRegions(t.ctx, ranges, 3)
			t.must("BatchScanRegions with a limit", err)
			t.equal("BatchScanRegions with a limit: starts", starts(found), [][]byte{keys[0], keys[1], keys[3]})
			for _, region := range found {
				t.isTrue("BatchScanRegions: leader", region.Leader.GetStoreId() != 0, region.Leader)
			}
		}},
		{"[PD-055] GetAllStores() and GetStore() agree; an unknown store is refused", everyAPI, func(t *trial) {
			client := t.connectPD()
			stores, err := client.GetAllStores(t.ctx, opt.WithExcludeTombstone())
			t.must("GetAllStores", err)
			t.isTrue("GetAllStores", len(stores) > 0, stores)
			for _, one := range stores {
				t.isTrue("GetAllStores: address and state", one.GetAddress() != "" && one.GetState() == metapb.StoreState_Up, one)
				store, err := client.GetStore(t.ctx, one.GetId())
				t.must("GetStore", err)
				t.equal("GetStore: address", store.GetAddress(), one.GetAddress())
			}
			_, err = client.GetStore(t.ctx, 999_999)
			t.refused("GetStore of an unknown store", err)
		}},
		{"[PD-057] [KS-012] SplitRegions() splits where it is told", everyAPI, func(t *trial) {
			raw := t.connect()
			client, keys := raw.GetPDClient(), t.keys(3)
			t.must("Put", raw.Put(t.ctx, keys[1], []byte("v")))
			reply, err := client.SplitRegions(t.ctx, keys, opt.WithRetry(3))
			t.must("SplitRegions", err)
			t.equal("SplitRegions: finished", reply.GetFinishedPercentage(), uint64(100))
			t.equal("SplitRegions: regions", len(reply.GetRegionsId()), 3)
			found, err := client.BatchScanRegions(t.ctx, []router.KeyRange{{StartKey: keys[0], EndKey: keys[2]}}, 10)
			t.must("BatchScanRegions", err)
			t.equal("BatchScanRegions: bounds", bounds(found), keys)
			value, err := raw.Get(t.ctx, keys[1])
			t.must("Get", err)
			t.equal("Get after the split", value, []byte("v"))
		}},
		{"[PD-056] [PD-058] ScatterRegions() finishes and leaves the data reachable", everyAPI, func(t *trial) {
			raw := t.connect()
			client, keys := raw.GetPDClient(), t.keys(4)
			t.must("BatchPut", raw.BatchPut(t.ctx, keys, keys))
			t.must("split", t.askSplit(keys...))
			found, err := client.BatchScanRegions(t.ctx, []router.KeyRange{{StartKey: keys[0], EndKey: keys[3]}}, 10)
			t.must("BatchScanRegions", err)
			var ids []uint64
			for _, region := range found {
				ids = append(ids, region.Meta.GetId())
			}
			reply, err := client.ScatterRegions(t.ctx, ids, opt.WithGroup("interop"))
			t.must("ScatterRegions", err)
			t.equal("ScatterRegions: finished", reply.GetFinishedPercentage(), uint64(100))
			//nolint:staticcheck // deprecated, and still what old clients call
			t.must("ScatterRegion", client.ScatterRegion(t.ctx, ids[0]))
			operator, err := client.GetOperator(t.ctx, ids[0])
			t.must("GetOperator", err)
			t.equal("GetOperator: region", operator.GetRegionId(), ids[0])
			values, err := raw.BatchGet(t.ctx, keys)
			t.must("BatchGet", err)
			t.equal("BatchGet after the scatter", values, keys)
		}},
		{"[PD-057] SplitAndScatterRegions() does both", []string{"v1", "v1ttl"}, func(t *trial) {
			client, keys := t.connectPD(), t.keys(2)
			reply, err := client.SplitAndScatterRegions(t.ctx, keys, opt.WithRetry(3))
			t.must("SplitAndScatterRegions", err)
			t.equal("SplitAndScatterRegions: split", reply.GetSplitFinishedPercentage(), uint64(100))
			t.equal("SplitAndScatterRegions: scattered", reply.GetScatterFinishedPercentage(), uint64(100))
			t.equal("SplitAndScatterRegions: regions", len(reply.GetRegionsId()), 2)
		}},
		{"[PD-075] LoadKeyspace() and GetAllKeyspaces() agree; an unknown name is refused", everyAPI, func(t *trial) {
			client := t.connectPD()
			all, err := client.GetAllKeyspaces(t.ctx, 0, 100)
			t.must("GetAllKeyspaces", err)
			names := []string{}
			for _, meta := range all {
				names = append(names, meta.GetName())
				one, err := client.LoadKeyspace(t.ctx, meta.GetName())
				t.must("LoadKeyspace", err)
				t.equal("LoadKeyspace: id", one.GetId(), meta.GetId())
				t.equal("LoadKeyspace: state", one.GetState(), keyspacepb.KeyspaceState_ENABLED)
			}
			t.isTrue("GetAllKeyspaces: DEFAULT is there", slices.Contains(names, "DEFAULT"), names)
			t.isTrue("GetAllKeyspaces: "+t.keyspace, t.keyspace == "" || slices.Contains(names, t.keyspace), names)
			_, err = client.LoadKeyspace(t.ctx, "no-such-keyspace")
			t.refused("LoadKeyspace of an unknown name", err)
		}},
	}
}

func (t *trial) connectPD() pd.Client {
	client, err := pd.NewClientWithContext(t.ctx, "interop", t.members(), pd.SecurityOption{CAPath: t.security().ClusterSSLCA, CertPath: t.security().ClusterSSLCert, KeyPath: t.security().ClusterSSLKey})
	t.must("pd.NewClient", err)
	t.cleanups = append(t.cleanups, client.Close)
	return client
}

func compose(physical, logical int64) uint64 { return uint64(physical)<<18 + uint64(logical) }

// timestamps asks for 10 000 at a time, twice: none twice, and none of the second lot is older.
func (t *trial) timestamps(client pd.Client) {
	const callers = 10_000
	seen := map[uint64]bool{}
	newest := uint64(0)
	for lot := range 2 {
		got := make([]uint64, callers)
		errs := make([]error, callers)
		var wait sync.WaitGroup
		for i := range callers {
			wait.Add(1)
			go func() {
				defer wait.Done()
				got[i], errs[i] = timestamp(t.ctx, client)
			}()
		}
		wait.Wait()
		before := newest
		for i, ts := range got {
			t.must(fmt.Sprintf("GetTS %d of lot %d", i, lot), errs[i])
			if seen[ts] || ts <= before {
				t.isTrue(fmt.Sprintf("GetTS, lot %d: distinct and newer than %d", lot, before), false, ts)
				return
			}
			seen[ts] = true
			newest = max(newest, ts)
		}
	}
}

// regions checks the three ways to ask for one region.
func (t *trial) regions(client pd.Client, options ...opt.GetRegionOption) {
	keys := t.keys(3)
	t.must("split", t.askSplit(keys...))
	inside := append(slices.Clone(keys[1]), 'x')
	region, err := client.GetRegion(t.ctx, inside, options...)
	t.must("GetRegion", err)
	t.equal("GetRegion: start", region.Meta.GetStartKey(), keys[1])
	t.equal("GetRegion: end", region.Meta.GetEndKey(), keys[2])
	t.isTrue("GetRegion: epoch", region.Meta.GetRegionEpoch().GetVersion() > 1 && region.Meta.GetRegionEpoch().GetConfVer() > 0, region.Meta.GetRegionEpoch())
	leads := slices.ContainsFunc(region.Meta.GetPeers(), func(p *metapb.Peer) bool { return p.GetId() == region.Leader.GetId() })
	t.isTrue("GetRegion: the leader is a peer", leads, region)
	previous, err := client.GetPrevRegion(t.ctx, inside, options...)
	t.must("GetPrevRegion", err)
	t.equal("GetPrevRegion: end", previous.Meta.GetEndKey(), keys[1])
	byID, err := client.GetRegionByID(t.ctx, region.Meta.GetId(), options...)
	t.must("GetRegionByID", err)
	t.equal("GetRegionByID", byID.Meta.String(), region.Meta.String())
	none, err := client.GetRegionByID(t.ctx, 999_999, options...)
	t.must("GetRegionByID of an unknown region", err)
	t.isTrue("GetRegionByID of an unknown region, expected nothing", none == nil, none)
}

func starts(regions []*router.Region) [][]byte {
	all := [][]byte{}
	for _, region := range regions {
		all = append(all, region.Meta.GetStartKey())
	}
	return all
}

// bounds returns the starts and the last end of regions that must be neighbours.
func bounds(regions []*router.Region) [][]byte {
	all := starts(regions)
	for i, region := range regions {
		if i+1 == len(regions) {
			all = append(all, region.Meta.GetEndKey())
		} else if !bytes.Equal(region.Meta.GetEndKey(), regions[i+1].Meta.GetStartKey()) {
			all = append(all, []byte("a gap"))
		}
	}
	return all
}
