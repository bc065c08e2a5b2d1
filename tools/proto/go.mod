module tikv.dev/client/tools/proto

go 1.25.0

require (
	github.com/bufbuild/protocompile v0.14.1
	github.com/golang/protobuf v1.5.4
	github.com/jhump/protoreflect/v2 v2.0.0-beta.2
	github.com/pingcap/kvproto v0.0.0-20260724054804-059694ae4472
	google.golang.org/protobuf v1.36.12
)

require (
	github.com/gogo/protobuf v1.3.2 // indirect
	golang.org/x/net v0.51.0 // indirect
	golang.org/x/sync v0.19.0 // indirect
	golang.org/x/sys v0.41.0 // indirect
	golang.org/x/text v0.34.0 // indirect
	google.golang.org/genproto/googleapis/rpc v0.0.0-20240604185151-ef581f913117 // indirect
	google.golang.org/grpc v1.66.2 // indirect
)
