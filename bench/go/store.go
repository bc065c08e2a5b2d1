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
	gotTxnValue = &tikvpb.BatchCommandsResponse_Response{
		Cmd: &tikvpb.BatchCommandsResponse_Response_Get{Get: &kvrpcpb.GetResponse{Value: value}},
	}
	didCommit = &tikvpb.BatchCommandsResponse_Response{
		Cmd: &tikvpb.BatchCommandsResponse_Response_Commit{Commit: &kvrpcpb.CommitResponse{}},
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
		return answerTxn(command)
	}
}

func answerTxn(command *tikvpb.BatchCommandsRequest_Request) (*tikvpb.BatchCommandsResponse_Response, error) {
	switch body := command.Cmd.(type) {
	case *tikvpb.BatchCommandsRequest_Request_Get:
		return gotTxnValue, nil
	case *tikvpb.BatchCommandsRequest_Request_BatchGet:
		pairs := pairsOf(body.BatchGet.Keys)
		return &tikvpb.BatchCommandsResponse_Response{
			Cmd: &tikvpb.BatchCommandsResponse_Response_BatchGet{BatchGet: &kvrpcpb.BatchGetResponse{Pairs: pairs}},
		}, nil
	case *tikvpb.BatchCommandsRequest_Request_Scan:
		pairs := rows[:min(int(body.Scan.Limit), maxScanRows)]
		return &tikvpb.BatchCommandsResponse_Response{
			Cmd: &tikvpb.BatchCommandsResponse_Response_Scan{Scan: &kvrpcpb.ScanResponse{Pairs: pairs}},
		}, nil
	case *tikvpb.BatchCommandsRequest_Request_Prewrite:
		return &tikvpb.BatchCommandsResponse_Response{
			Cmd: &tikvpb.BatchCommandsResponse_Response_Prewrite{Prewrite: prewrite(body.Prewrite)},
		}, nil
	case *tikvpb.BatchCommandsRequest_Request_Commit:
		return didCommit, nil
	case *tikvpb.BatchCommandsRequest_Request_PessimisticLock:
		return &tikvpb.BatchCommandsResponse_Response{
			Cmd: &tikvpb.BatchCommandsResponse_Response_PessimisticLock{PessimisticLock: lock(body.PessimisticLock)},
		}, nil
	default:
		return nil, status.Errorf(codes.Unimplemented, "the stub does not serve %T", command.Cmd)
	}
}

func batchGet(request *kvrpcpb.RawBatchGetRequest) *kvrpcpb.RawBatchGetResponse {
	return &kvrpcpb.RawBatchGetResponse{Pairs: pairsOf(request.Keys)}
}

func pairsOf(keys [][]byte) []*kvrpcpb.KvPair {
	pairs := make([]*kvrpcpb.KvPair, len(keys))
	for i, key := range keys {
		pairs[i] = &kvrpcpb.KvPair{Key: key, Value: value}
	}
	return pairs
}

// What it is asked for is what it does: one phase, async commit, or two phases.
func prewrite(request *kvrpcpb.PrewriteRequest) *kvrpcpb.PrewriteResponse {
	least := max(request.MinCommitTs, request.StartVersion+1)
	switch {
	case request.TryOnePc:
		return &kvrpcpb.PrewriteResponse{OnePcCommitTs: least}
	case request.UseAsyncCommit:
		return &kvrpcpb.PrewriteResponse{MinCommitTs: least}
	default:
		return &kvrpcpb.PrewriteResponse{}
	}
}

func scan(request *kvrpcpb.RawScanRequest) *kvrpcpb.RawScanResponse {
	return &kvrpcpb.RawScanResponse{Kvs: rows[:min(int(request.Limit), maxScanRows)]}
}

// Every key exists.
func lock(request *kvrpcpb.PessimisticLockRequest) *kvrpcpb.PessimisticLockResponse {
	if !request.CheckExistence && !request.ReturnValues {
		return &kvrpcpb.PessimisticLockResponse{}
	}
	answer := &kvrpcpb.PessimisticLockResponse{NotFounds: make([]bool, len(request.Mutations))}
	for range request.Mutations {
		if request.ReturnValues {
			answer.Values = append(answer.Values, value)
		}
	}
	return answer
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
