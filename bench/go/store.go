// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"context"
	"fmt"

	"github.com/pingcap/kvproto/pkg/kvrpcpb"
	"github.com/pingcap/kvproto/pkg/tikvpb"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

const maxScanRows = 10_240

var (
	value    = bytes.Repeat([]byte("v"), 100)
	rows     = constantRows()
	gotValue = &tikvpb.BatchCommandsResponse_Response{
		Cmd: &tikvpb.BatchCommandsResponse_Response_RawGet{RawGet: &kvrpcpb.RawGetResponse{Value: value}},
	}
	didPut = &tikvpb.BatchCommandsResponse_Response{
		Cmd: &tikvpb.BatchCommandsResponse_Response_RawPut{RawPut: &kvrpcpb.RawPutResponse{}},
	}
	didDelete = &tikvpb.BatchCommandsResponse_Response{
		Cmd: &tikvpb.BatchCommandsResponse_Response_RawDelete{RawDelete: &kvrpcpb.RawDeleteResponse{}},
	}
	didBatchPut = &tikvpb.BatchCommandsResponse_Response{
		Cmd: &tikvpb.BatchCommandsResponse_Response_RawBatchPut{RawBatchPut: &kvrpcpb.RawBatchPutResponse{}},
	}
	didNothing = &tikvpb.BatchCommandsResponse_Response{
		Cmd: &tikvpb.BatchCommandsResponse_Response_Empty{Empty: &tikvpb.BatchCommandsEmptyResponse{}},
	}
)

func constantRows() []*kvrpcpb.KvPair {
	all := make([]*kvrpcpb.KvPair, maxScanRows)
	for i := range all {
		all[i] = &kvrpcpb.KvPair{Key: benchKey(i), Value: value}
	}
	return all
}

// 23 bytes, as in the figures that the goal was set with.
func benchKey(i int) []byte { return fmt.Appendf(nil, "bench-key-%013d", i) }

type store struct{ tikvpb.UnimplementedTikvServer }

func (s *store) BatchCommands(stream tikvpb.Tikv_BatchCommandsServer) error {
	for {
		request, err := stream.Recv()
		if err != nil {
			return err
		}
		answers := make([]*tikvpb.BatchCommandsResponse_Response, len(request.Requests))
		for i, command := range request.Requests {
			if answers[i], err = answer(command); err != nil {
				return err
			}
		}
		if err := stream.Send(&tikvpb.BatchCommandsResponse{Responses: answers, RequestIds: request.RequestIds}); err != nil {
			return err
		}
	}
}

func answer(command *tikvpb.BatchCommandsRequest_Request) (*tikvpb.BatchCommandsResponse_Response, error) {
	switch body := command.Cmd.(type) {
	case *tikvpb.BatchCommandsRequest_Request_RawGet:
		return gotValue, nil
	case *tikvpb.BatchCommandsRequest_Request_RawPut:
		return didPut, nil
	case *tikvpb.BatchCommandsRequest_Request_RawDelete:
		return didDelete, nil
	case *tikvpb.BatchCommandsRequest_Request_RawBatchPut:
		return didBatchPut, nil
	case *tikvpb.BatchCommandsRequest_Request_RawBatchGet:
		return &tikvpb.BatchCommandsResponse_Response{
			Cmd: &tikvpb.BatchCommandsResponse_Response_RawBatchGet{RawBatchGet: batchGet(body.RawBatchGet)},
		}, nil
	case *tikvpb.BatchCommandsRequest_Request_RawScan:
		return &tikvpb.BatchCommandsResponse_Response{
			Cmd: &tikvpb.BatchCommandsResponse_Response_RawScan{RawScan: scan(body.RawScan)},
		}, nil
	case *tikvpb.BatchCommandsRequest_Request_Empty:
		return didNothing, nil
	default:
		return nil, status.Errorf(codes.Unimplemented, "the stub does not serve %T", command.Cmd)
	}
}

func batchGet(request *kvrpcpb.RawBatchGetRequest) *kvrpcpb.RawBatchGetResponse {
	pairs := make([]*kvrpcpb.KvPair, len(request.Keys))
	for i, key := range request.Keys {
		pairs[i] = &kvrpcpb.KvPair{Key: key, Value: value}
	}
	return &kvrpcpb.RawBatchGetResponse{Pairs: pairs}
}

func scan(request *kvrpcpb.RawScanRequest) *kvrpcpb.RawScanResponse {
	return &kvrpcpb.RawScanResponse{Kvs: rows[:min(int(request.Limit), maxScanRows)]}
}

func (s *store) RawGet(context.Context, *kvrpcpb.RawGetRequest) (*kvrpcpb.RawGetResponse, error) {
	return &kvrpcpb.RawGetResponse{Value: value}, nil
}

func (s *store) RawPut(context.Context, *kvrpcpb.RawPutRequest) (*kvrpcpb.RawPutResponse, error) {
	return &kvrpcpb.RawPutResponse{}, nil
}

func (s *store) RawBatchGet(_ context.Context, request *kvrpcpb.RawBatchGetRequest) (*kvrpcpb.RawBatchGetResponse, error) {
	return batchGet(request), nil
}

func (s *store) RawScan(_ context.Context, request *kvrpcpb.RawScanRequest) (*kvrpcpb.RawScanResponse, error) {
	return scan(request), nil
}
