package taskspec

import (
	"bytes"
	"encoding/binary"
	"slices"
)

// Bounds of what is sorted; a longer or more deeply nested value keeps its order.
const (
	maxMsgpack      = 4 << 20
	maxMsgpackDepth = 256
)

// sortMsgpack sorts the entries of every map in a MessagePack value by their keys, so that two dicts with the same entries
// are the same bytes whatever the order in which they were filled. It reads the lengths only and never builds the values;
// false when data is not one whole value.
func sortMsgpack(data []byte) ([]byte, bool) {
	if len(data) > maxMsgpack {
		return nil, false
	}
	sorted, rest, ok := sortValue(data, maxMsgpackDepth)
	if !ok || len(rest) > 0 {
		return nil, false
	}
	return sorted, true
}

// sortValue returns the first value of data with its maps sorted, and what follows it.
func sortValue(data []byte, depth int) (value, rest []byte, ok bool) {
	if len(data) == 0 || depth == 0 {
		return nil, nil, false
	}
	head, body, items, ok := layout(data)
	if !ok || head+body > len(data) {
		return nil, nil, false
	}
	rest = data[head+body:]
	value = data[:head+body]
	if items == 0 {
		return value, rest, true
	}
	if items > len(rest) { // every item takes a byte at least
		return nil, nil, false
	}
	value = slices.Clone(value)
	if !isMap(data[0]) {
		for range items {
			var item []byte
			if item, rest, ok = sortValue(rest, depth-1); !ok {
				return nil, nil, false
			}
			value = append(value, item...)
		}
		return value, rest, true
	}
	type entry struct{ key, value []byte }
	entries := make([]entry, items/2)
	for i := range entries {
		if entries[i].key, rest, ok = sortValue(rest, depth-1); !ok {
			return nil, nil, false
		}
		if entries[i].value, rest, ok = sortValue(rest, depth-1); !ok {
			return nil, nil, false
		}
	}
	slices.SortStableFunc(entries, func(a, b entry) int { return bytes.Compare(a.key, b.key) })
	for _, e := range entries {
		value = append(append(value, e.key...), e.value...)
	}
	return value, rest, true
}

func isMap(first byte) bool { return first&0xf0 == 0x80 || first == 0xde || first == 0xdf }

// layout reads the first byte of a value, and its length where it has one: the bytes of the head, the bytes of the body,
// and the values that follow as its items (a map counts keys and values). See the MessagePack specification, "Formats".
func layout(data []byte) (head, body, items int, ok bool) {
	number := func(size int) (int, bool) {
		if len(data) < 1+size {
			return 0, false
		}
		var wide [8]byte
		copy(wide[8-size:], data[1:1+size])
		return int(binary.BigEndian.Uint64(wide[:])), true
	}
	sized := func(size, extra int) (int, int, int, bool) { // a length of size bytes, then extra bytes, then the body
		n, ok := number(size)
		return 1 + size + extra, n, 0, ok
	}
	counted := func(size, each int) (int, int, int, bool) {
		n, ok := number(size)
		return 1 + size, 0, n * each, ok
	}
	switch first := data[0]; {
	case first < 0x80 || first >= 0xe0: // a small integer
		return 1, 0, 0, true
	case first < 0x90:
		return 1, 0, 2 * int(first&0x0f), true
	case first < 0xa0:
		return 1, 0, int(first & 0x0f), true
	case first < 0xc0: // a short string
		return 1, int(first & 0x1f), 0, true
	default:
		switch first {
		case 0xc0, 0xc2, 0xc3: // nil, false, true
			return 1, 0, 0, true
		case 0xc4, 0xd9: // bytes, a string
			return sized(1, 0)
		case 0xc5, 0xda:
			return sized(2, 0)
		case 0xc6, 0xdb:
			return sized(4, 0)
		case 0xc7: // an extension: its length, its type, its bytes
			return sized(1, 1)
		case 0xc8:
			return sized(2, 1)
		case 0xc9:
			return sized(4, 1)
		case 0xcc, 0xd0:
			return 1, 1, 0, true
		case 0xcd, 0xd1:
			return 1, 2, 0, true
		case 0xca, 0xce, 0xd2:
			return 1, 4, 0, true
		case 0xcb, 0xcf, 0xd3:
			return 1, 8, 0, true
		case 0xd4, 0xd5, 0xd6, 0xd7, 0xd8: // an extension of 1, 2, 4, 8, 16 bytes and its type
			return 1, 1 + 1<<(first-0xd4), 0, true
		case 0xdc:
			return counted(2, 1)
		case 0xdd:
			return counted(4, 1)
		case 0xde:
			return counted(2, 2)
		case 0xdf:
			return counted(4, 2)
		}
		return 0, 0, 0, false // 0xc1 is never used
	}
}
