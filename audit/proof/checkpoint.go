// Package proof makes and checks the proofs of the audit log: signed checkpoints of
// its Merkle tree, cosignatures of witnesses, and proofs that an entry is in the tree.
//
// The formats are those of transparency logs: signed notes, C2SP tlog-checkpoint,
// tlog-cosignature, tlog-witness and tlog-proof, over the tree of RFC 6962. So
// programs of other authors can check them too.
package proof

import (
	"encoding/base64"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"
)

// maxCheckpoint bounds a checkpoint with its signatures.
const maxCheckpoint = 64 << 10

// A Checkpoint is a tree that a log has signed.
type Checkpoint struct {
	Origin string
	Tree   tlog.Tree
	// Note is the signed note with all its signatures.
	Note []byte
}

// Body returns the text of a checkpoint that is signed (C2SP tlog-checkpoint).
func Body(origin string, tree tlog.Tree) string {
	return fmt.Sprintf("%s\n%d\n%s\n", origin, tree.N, base64.StdEncoding.EncodeToString(tree.Hash[:]))
}

// Sign returns a checkpoint of a tree with the signature of its log.
func Sign(signer note.Signer, origin string, tree tlog.Tree) (Checkpoint, error) {
	signed, err := note.Sign(&note.Note{Text: Body(origin, tree)}, signer)
	if err != nil {
		return Checkpoint{}, fmt.Errorf("sign a checkpoint: %w", err)
	}
	return Checkpoint{origin, tree, signed}, nil
}

// Open reads a checkpoint and verifies its signatures. Without a valid signature of
// one of the known keys it is an error. Signatures of unknown keys are ignored. signers
// are the names of the known keys that have signed.
//
// A cosigner signs checkpoints of many logs, and the list of keys says nothing about
// their origins. A caller that accepts the checkpoints of one log only must compare
// Origin and signers.
func Open(text []byte, known note.Verifiers) (c Checkpoint, signers []string, err error) {
	c, signers, _, err = open(text, known)
	return c, signers, err
}

// open is like Open. byLog reports whether one of the signatures is a log's, and not a
// cosigner's.
func open(text []byte, known note.Verifiers) (c Checkpoint, signers []string, byLog bool, err error) {
	if len(text) > maxCheckpoint {
		return c, nil, false, fmt.Errorf("a checkpoint of %d bytes", len(text))
	}
	n, err := note.Open(text, known)
	if err != nil {
		return c, nil, false, fmt.Errorf("open a checkpoint: %w", err)
	}
	c.Note = text
	if c.Origin, c.Tree, err = parseBody(n.Text); err != nil {
		return c, nil, false, err
	}
	for _, s := range n.Sigs {
		signers = append(signers, s.Name)
		v, err := known.Verifier(s.Name, s.Hash)
		if err != nil {
			return c, nil, false, fmt.Errorf("open a checkpoint: %w", err)
		}
		if _, cosigner := v.(*cosignatureVerifier); !cosigner {
			byLog = true
		}
	}
	return c, signers, byLog, nil
}

func parseBody(text string) (origin string, tree tlog.Tree, err error) {
	lines := strings.Split(text, "\n")
	if len(lines) != 4 || lines[0] == "" || lines[3] != "" {
		return "", tree, errors.New("a checkpoint must have three lines")
	}
	if tree.N, err = parseSize(lines[1]); err != nil {
		return "", tree, fmt.Errorf("size of a checkpoint: %w", err)
	}
	if tree.Hash, err = parseHash(lines[2]); err != nil {
		return "", tree, fmt.Errorf("hash of a checkpoint: %w", err)
	}
	return lines[0], tree, nil
}

// parseSize parses a decimal number in its only form.
func parseSize(s string) (int64, error) {
	n, err := strconv.ParseInt(s, 10, 64)
	if err != nil || n < 0 || strconv.FormatInt(n, 10) != s {
		return 0, fmt.Errorf("%q is not a number of leaves", cutText(s))
	}
	return n, nil
}

func parseHash(s string) (h tlog.Hash, err error) {
	b, err := base64.StdEncoding.Strict().DecodeString(s)
	if err != nil || len(b) != len(h) || base64.StdEncoding.EncodeToString(b) != s {
		return h, fmt.Errorf("%q is not a hash in base64", cutText(s))
	}
	return tlog.Hash(b), nil
}

// cutText shortens a text of an unknown source for an error.
func cutText(s string) string {
	const most = 64
	if len(s) > most {
		return s[:most] + "…"
	}
	return s
}
