package negotiate

import (
	"bytes"
	"encoding/base64"
	"strings"

	"github.com/postern-im/postern/xmpp/jid"
)

// maxName bounds a SASL user name before preparation. A prepared localpart has
// at most 1023 bytes.
const maxName = 3 * jid.MaxPart

// Failure conditions of RFC 6120 section 6.5 that the gateway itself uses.
const (
	malformedRequest     = "malformed-request"
	invalidAuthzid       = "invalid-authzid"
	notAuthorized        = "not-authorized"
	temporaryAuthFailure = "temporary-auth-failure"
)

// decode64 decodes base64 in its canonical form only. Servers differ on white
// space, padding and trailing bits, so all other forms are refused. A single
// "=" means an empty message (RFC 6120 section 6.4.2).
func decode64(text []byte) ([]byte, bool) {
	if string(text) == "=" {
		return []byte{}, true
	}
	if len(text) == 0 || bytes.ContainsAny(text, "\r\n") {
		return nil, false
	}
	out := make([]byte, base64.StdEncoding.DecodedLen(len(text)))
	n, err := base64.StdEncoding.Strict().Decode(out, text)
	return out[:n], err == nil
}

// initial parses a client's first SASL message. It returns the user that the
// client claims to be and the message to relay, or the failure condition with
// which to refuse the message.
//
// An authorization identity must be the user's own address, because some
// servers have let a user act as any other user named in the identity.
func initial(mechanism string, message []byte, domain string) (user jid.Addr, relay []byte, failure string) {
	if mechanism == "PLAIN" {
		return initialPlain(message, domain)
	}
	return initialSCRAM(message, domain)
}

// initialPlain parses RFC 4616's authzid NUL authcid NUL passwd. The message to
// relay has no authzid.
func initialPlain(message []byte, domain string) (user jid.Addr, relay []byte, failure string) {
	parts := bytes.Split(message, []byte{0})
	if len(parts) != 3 || len(parts[1]) == 0 || len(parts[1]) > maxName || len(parts[2]) == 0 {
		return jid.Addr{}, nil, malformedRequest
	}
	user, failure = identity(string(parts[1]), string(parts[0]), domain)
	if failure != "" {
		return jid.Addr{}, nil, failure
	}
	return user, message[len(parts[0]):], ""
}

// initialSCRAM parses the start of RFC 5802's client-first-message, up to the
// user name: gs2-header "n=" saslname ",r=" …. The message is relayed
// unchanged, because the proof covers its header. The reserved m= extension is
// not allowed before n=.
func initialSCRAM(message []byte, domain string) (user jid.Addr, relay []byte, failure string) {
	flag, rest, ok := strings.Cut(string(message), ",")
	if !ok || flag != "n" && flag != "y" {
		return jid.Addr{}, nil, malformedRequest
	}
	header, rest, ok := strings.Cut(rest, ",")
	if !ok {
		return jid.Addr{}, nil, malformedRequest
	}
	authzid, named := strings.CutPrefix(header, "a=")
	if header != "" && (!named || authzid == "") {
		return jid.Addr{}, nil, malformedRequest
	}
	name, nonce, _ := strings.Cut(rest, ",")
	name, named = strings.CutPrefix(name, "n=")
	if !named || !strings.HasPrefix(nonce, "r=") {
		return jid.Addr{}, nil, malformedRequest
	}
	name, okName := saslname(name)
	authzid, okAuthzid := saslname(authzid)
	if !okName || !okAuthzid || name == "" || len(name) > maxName {
		return jid.Addr{}, nil, malformedRequest
	}
	user, failure = identity(name, authzid, domain)
	if failure != "" {
		return jid.Addr{}, nil, failure
	}
	return user, message, ""
}

// saslname decodes RFC 5802 section 5.1: =2C is a comma and =3D an equals sign.
// Any other equals sign is an error.
func saslname(s string) (string, bool) {
	rest := strings.ReplaceAll(strings.ReplaceAll(s, "=2C", ""), "=3D", "")
	if strings.Contains(rest, "=") {
		return "", false
	}
	return strings.NewReplacer("=2C", ",", "=3D", "=").Replace(s), true
}

// identity prepares the user's bare JID and compares the authzid with it.
func identity(name, authzid, domain string) (user jid.Addr, failure string) {
	user, err := jid.Join(name, domain, "")
	if err != nil {
		return jid.Addr{}, notAuthorized
	}
	if authzid == "" {
		return user, ""
	}
	asked, err := jid.Parse([]byte(authzid))
	if err != nil || !asked.Equal(user) {
		return jid.Addr{}, invalidAuthzid
	}
	return user, ""
}
