package gateway

import (
	"bytes"
	"errors"

	"github.com/tinylib/msgp/msgp"
)

// maxNesting bounds how deep a value in MessagePack is walked; the SDK nests as deep as the user's types do.
const maxNesting = 100

// localiseMessagePack does for values within dataclasses and models what localise does for plain ones. They come in MessagePack
// (scalar binary, tag "msgpack"), where the SDK's classes are maps: a file or folder has its address under "path", a frame
// under "uri" (io/_file.py, io/_dir.py, io/_dataframe). Other text stays, even when it reads like an address. What cannot be read is
// left as it is.
func (g *Gateway) localiseMessagePack(value []byte) []byte {
	if !bytes.Contains(value, []byte("s3://")) {
		return value
	}
	w := walker{local: g}
	rest, err := w.item(value, "", maxNesting)
	if err != nil || len(rest) > 0 {
		return value
	}
	return w.out
}

type walker struct {
	local *Gateway
	out   []byte
}

var errNesting = errors.New("nested too deeply")

// item copies one value and returns what follows it. key is the name under which it stands in a map.
func (w *walker) item(in []byte, key string, depth int) (rest []byte, err error) {
	if depth == 0 {
		return nil, errNesting
	}
	switch msgp.NextType(in) {
	case msgp.StrType:
		text, rest, err := msgp.ReadStringBytes(in)
		switch key {
		case "path":
			text = w.local.Local(text)
		case "uri":
			text = w.local.localFrame(text)
		}
		w.out = msgp.AppendString(w.out, text)
		return rest, err
	case msgp.ArrayType:
		length, rest, err := msgp.ReadArrayHeaderBytes(in)
		w.out = msgp.AppendArrayHeader(w.out, length)
		for ; err == nil && length > 0; length-- {
			rest, err = w.item(rest, "", depth-1)
		}
		return rest, err
	case msgp.MapType:
		length, rest, err := msgp.ReadMapHeaderBytes(in)
		w.out = msgp.AppendMapHeader(w.out, length)
		for ; err == nil && length > 0; length-- {
			name := ""
			if msgp.NextType(rest) == msgp.StrType {
				if name, _, err = msgp.ReadStringBytes(rest); err != nil {
					return nil, err
				}
			}
			if rest, err = w.item(rest, "", depth-1); err != nil {
				return nil, err
			}
			rest, err = w.item(rest, name, depth-1)
		}
		return rest, err
	default:
		rest, err := msgp.Skip(in)
		if err == nil {
			w.out = append(w.out, in[:len(in)-len(rest)]...)
		}
		return rest, err
	}
}
