package api

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"strings"
)

// A token consists of "postern_", its id, "_", and its secret of 256 random bits in
// hex. Its form never changes, so that scanners for leaked secrets can recognize
// it.
const (
	tokenPrefix = "postern_"
	// tokenIDSize is the length of a token's id, in hex digits.
	tokenIDSize = 16
	secretSize  = 64
	tokenSize   = len(tokenPrefix) + tokenIDSize + 1 + secretSize
)

// NewToken makes a token. It returns the token's text, which must not be stored, and
// the id and hash, which are sent to the node.
func NewToken() (token, id, hash string) {
	var secret [secretSize / 2]byte
	var public [tokenIDSize / 2]byte
	rand.Read(secret[:]) // never fails
	rand.Read(public[:])
	id = hex.EncodeToString(public[:])
	token = tokenPrefix + id + "_" + hex.EncodeToString(secret[:])
	sum := sha256.Sum256([]byte(token))
	return token, id, hex.EncodeToString(sum[:])
}

// ParseToken returns the id in a token. It returns false if the text does not have
// the form of a token.
func ParseToken(token string) (id string, ok bool) {
	if len(token) != tokenSize || !strings.HasPrefix(token, tokenPrefix) {
		return "", false
	}
	id, secret, ok := strings.Cut(token[len(tokenPrefix):], "_")
	const digits = "0123456789abcdef"
	return id, ok && len(id) == tokenIDSize && strings.Trim(id, digits) == "" && strings.Trim(secret, digits) == ""
}
