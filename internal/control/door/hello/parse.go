package hello

import (
	"errors"
	"fmt"
	"strings"

	"golang.org/x/crypto/cryptobyte"
)

// Numbers of RFC 8446, RFC 6066, RFC 7301 and RFC 9849.
const (
	recordHandshake   = 22
	typeClientHello   = 1
	extensionName     = 0
	extensionProtocol = 16
	extensionECH      = 0xfe0d
)

// Hello is what a ClientHello asks for.
type Hello struct {
	// ServerName is in lower case; empty when the client names nobody.
	ServerName string
	// Protocols are the names that the client offers by ALPN, in its order.
	Protocols []string
	// ECH says that the client offers an encrypted ClientHello, or pretends to; ServerName is then the outer name.
	ECH bool
	// Raw is everything that was read from the connection.
	Raw []byte
}

// Parse reads the message, which begins with its type and length and must be whole. It looks at what Hello has only: whoever
// ends the TLS judges the rest.
func Parse(message []byte) (*Hello, error) {
	var (
		h                                      Hello
		kind                                   uint8
		body, session, suites, compression, in cryptobyte.String
	)
	s := cryptobyte.String(message)
	if !s.ReadUint8(&kind) || kind != typeClientHello || !s.ReadUint24LengthPrefixed(&body) || !s.Empty() {
		return nil, errors.New("not a ClientHello")
	}
	if !body.Skip(2+32) || // version, random
		!body.ReadUint8LengthPrefixed(&session) || !body.ReadUint16LengthPrefixed(&suites) || !body.ReadUint8LengthPrefixed(&compression) {
		return nil, errors.New("the ClientHello is cut off")
	}
	if body.Empty() {
		return &h, nil // as it was before there were extensions
	}
	if !body.ReadUint16LengthPrefixed(&in) || !body.Empty() {
		return nil, errors.New("the extensions do not end with the ClientHello")
	}
	var name, protocols bool
	for !in.Empty() {
		var extension uint16
		var data cryptobyte.String
		if !in.ReadUint16(&extension) || !in.ReadUint16LengthPrefixed(&data) {
			return nil, errors.New("an extension is cut off")
		}
		// Who reads the first of two, and who reads the last, would see different clients.
		if extension == extensionName && name || extension == extensionProtocol && protocols {
			return nil, fmt.Errorf("extension %d is there twice", extension)
		}
		var err error
		switch extension {
		case extensionName:
			name = true
			h.ServerName, err = serverName(data)
		case extensionProtocol:
			protocols = true
			h.Protocols, err = offered(data)
		case extensionECH:
			h.ECH = true
		}
		if err != nil {
			return nil, err
		}
	}
	return &h, nil
}

func serverName(data cryptobyte.String) (string, error) {
	var list cryptobyte.String
	if !data.ReadUint16LengthPrefixed(&list) || list.Empty() || !data.Empty() {
		return "", errors.New("the list of server names is malformed")
	}
	found := ""
	for !list.Empty() {
		var kind uint8
		var name cryptobyte.String
		if !list.ReadUint8(&kind) || !list.ReadUint16LengthPrefixed(&name) || name.Empty() {
			return "", errors.New("a server name is cut off")
		}
		if kind != 0 {
			continue // not a host name
		}
		if found != "" {
			return "", errors.New("there are two server names")
		}
		found = string(name)
	}
	// A name is written without the dot at its end here; TLS servers refuse it, so it leads nowhere.
	if strings.HasSuffix(found, ".") {
		return "", errors.New("the server name ends with a dot")
	}
	return strings.ToLower(found), nil
}

func offered(data cryptobyte.String) ([]string, error) {
	var list cryptobyte.String
	if !data.ReadUint16LengthPrefixed(&list) || list.Empty() || !data.Empty() {
		return nil, errors.New("the list of protocols is malformed")
	}
	var protocols []string
	for !list.Empty() {
		var protocol cryptobyte.String
		if !list.ReadUint8LengthPrefixed(&protocol) || protocol.Empty() {
			return nil, errors.New("a protocol's name is cut off")
		}
		protocols = append(protocols, string(protocol))
	}
	return protocols, nil
}
