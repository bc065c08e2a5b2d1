// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"

	"go.etcd.io/etcd/api/v3/etcdserverpb"
)

// client-go keeps the safe point of garbage collection in PD's etcd, which it asks when it connects.
type etcd struct {
	etcdserverpb.UnimplementedClusterServer
	etcdserverpb.UnimplementedKVServer
	address string
}

func (e *etcd) header() *etcdserverpb.ResponseHeader {
	return &etcdserverpb.ResponseHeader{ClusterId: 1, MemberId: 1}
}

func (e *etcd) MemberList(context.Context, *etcdserverpb.MemberListRequest) (*etcdserverpb.MemberListResponse, error) {
	url := "http://" + e.address
	member := &etcdserverpb.Member{ID: 1, Name: "pd-1", PeerURLs: []string{url}, ClientURLs: []string{url}}
	return &etcdserverpb.MemberListResponse{Header: e.header(), Members: []*etcdserverpb.Member{member}}, nil
}

func (e *etcd) Range(context.Context, *etcdserverpb.RangeRequest) (*etcdserverpb.RangeResponse, error) {
	return &etcdserverpb.RangeResponse{Header: e.header()}, nil
}
