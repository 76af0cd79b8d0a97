package gateway

import (
	"strings"

	"biplane.dev/biplane/gen/flyteidl2/core"
	"biplane.dev/biplane/gen/flyteidl2/task"
)

// localise rewrites the addresses of files, folders and frames for a client on this machine. Tasks understand the
// result too, so what a client passes on to another run goes on to work.
func (g *Gateway) localise(literals []*task.NamedLiteral) {
	if g.Local == nil {
		return
	}
	for _, literal := range literals {
		g.localiseLiteral(literal.GetValue())
	}
}

func (g *Gateway) localiseLiteral(literal *core.Literal) {
	switch v := literal.GetValue().(type) {
	case *core.Literal_Collection:
		for _, item := range v.Collection.GetLiterals() {
			g.localiseLiteral(item)
		}
	case *core.Literal_Map:
		for _, item := range v.Map.GetLiterals() {
			g.localiseLiteral(item)
		}
	case *core.Literal_OffloadedMetadata:
		v.OffloadedMetadata.Uri = g.Local(v.OffloadedMetadata.GetUri())
	case *core.Literal_Scalar:
		g.localiseScalar(v.Scalar)
	}
}

func (g *Gateway) localiseScalar(scalar *core.Scalar) {
	switch v := scalar.GetValue().(type) {
	case *core.Scalar_Blob:
		v.Blob.Uri = g.Local(v.Blob.GetUri())
	case *core.Scalar_Schema:
		v.Schema.Uri = g.localFrame(v.Schema.GetUri())
	case *core.Scalar_StructuredDataset:
		v.StructuredDataset.Uri = g.localFrame(v.StructuredDataset.GetUri())
	case *core.Scalar_Binary:
		if v.Binary.GetTag() == "msgpack" {
			v.Binary.Value = g.localiseMessagePack(v.Binary.GetValue())
		}
	case *core.Scalar_Union:
		g.localiseLiteral(v.Union.GetValue())
	}
}

// localFrame is the address of a frame: with a scheme, because the SDK takes a frame at a bare path for one that the client
// has yet to upload.
func (g *Gateway) localFrame(uri string) string {
	if local := g.Local(uri); strings.HasPrefix(local, "/") {
		return "local://" + local
	} else {
		return local
	}
}
