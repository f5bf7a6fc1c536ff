package proof

import (
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"strings"
	"time"
	"unicode"

	"golang.org/x/mod/sumdb/note"
)

// cosignatureAlg is the signature type of Ed25519 cosignatures in keys of notes (C2SP
// tlog-cosignature).
const cosignatureAlg = 4

// cosignatureSize is a timestamp and an Ed25519 signature.
const cosignatureSize = 8 + ed25519.SignatureSize

// A Cosigner makes cosignatures of checkpoints, as a witness does.
type Cosigner struct {
	name string
	key  ed25519.PrivateKey
	now  func() time.Time
}

// NewCosigner returns a Cosigner. A key must not be used for anything else, because
// the signed text does not have the cosigner's name. now is its clock.
func NewCosigner(name string, key ed25519.PrivateKey, now func() time.Time) (*Cosigner, error) {
	if !validName(name) || len(key) != ed25519.PrivateKeySize {
		return nil, errors.New("a cosigner needs a name without spaces and plus signs, and an Ed25519 key")
	}
	return &Cosigner{name, key, now}, nil
}

// Name returns the cosigner's name.
func (c *Cosigner) Name() string { return c.name }

// KeyHash returns the id of the cosigner's key.
func (c *Cosigner) KeyHash() uint32 { return keyHash(c.name, c.public()) }

// Sign signs the body of a checkpoint.
func (c *Cosigner) Sign(body []byte) ([]byte, error) {
	at := c.now().Unix()
	if at <= 0 {
		return nil, errors.New("the clock is before 1970")
	}
	return append(binary.BigEndian.AppendUint64(nil, uint64(at)), ed25519.Sign(c.key, cosigned(uint64(at), body))...), nil
}

// Key returns the cosigner's public key in the form of a note's verifier key.
func (c *Cosigner) Key() string {
	return fmt.Sprintf("%s+%08x+%s", c.name, c.KeyHash(), base64.StdEncoding.EncodeToString(append([]byte{cosignatureAlg}, c.public()...)))
}

func (c *Cosigner) public() ed25519.PublicKey { return c.key.Public().(ed25519.PublicKey) }

// NewVerifier returns the verifier of a key: a note's Ed25519 key of a log, or the
// Ed25519 key of a cosigner.
func NewVerifier(key string) (note.Verifier, error) {
	name, rest, _ := strings.Cut(key, "+")
	hash, encoded, ok := strings.Cut(rest, "+")
	material, err := base64.StdEncoding.Strict().DecodeString(encoded)
	if !ok || err != nil || !validName(name) || len(material) == 0 {
		return nil, fmt.Errorf("%q is not a key: want NAME+ID+BASE64", cutText(key))
	}
	if material[0] != cosignatureAlg {
		v, err := note.NewVerifier(key)
		if err != nil {
			return nil, fmt.Errorf("key of %s: %w", name, err)
		}
		return v, nil
	}
	v := &cosignatureVerifier{name: name, key: ed25519.PublicKey(material[1:])}
	if len(v.key) != ed25519.PublicKeySize || fmt.Sprintf("%08x", v.KeyHash()) != hash {
		return nil, fmt.Errorf("key of %s: its id does not belong to it", name)
	}
	return v, nil
}

type cosignatureVerifier struct {
	name string
	key  ed25519.PublicKey
}

func (v *cosignatureVerifier) Name() string    { return v.name }
func (v *cosignatureVerifier) KeyHash() uint32 { return keyHash(v.name, v.key) }

func (v *cosignatureVerifier) Verify(body, signature []byte) bool {
	if len(signature) != cosignatureSize {
		return false
	}
	at := binary.BigEndian.Uint64(signature)
	return at > 0 && at <= math.MaxInt64 && ed25519.Verify(v.key, cosigned(at, body), signature[8:])
}

// cosigned is the text that an Ed25519 cosigner signs.
func cosigned(at uint64, body []byte) []byte {
	return append(fmt.Appendf(nil, "cosignature/v1\ntime %d\n", at), body...)
}

func keyHash(name string, public ed25519.PublicKey) uint32 {
	h := sha256.New()
	h.Write([]byte(name + "\n"))
	h.Write([]byte{cosignatureAlg})
	h.Write(public)
	return binary.BigEndian.Uint32(h.Sum(nil))
}

func validName(name string) bool {
	return name != "" && !strings.ContainsRune(name, '+') && strings.IndexFunc(name, unicode.IsSpace) < 0
}
