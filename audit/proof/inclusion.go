package proof

import (
	"bytes"
	"encoding/base64"
	"errors"
	"fmt"
	"strings"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"
)

const (
	inclusionHeader = "c2sp.org/tlog-proof@v1"
	// maxExtra bounds the extra data: an entry and the salts of its names.
	maxExtra = 8 << 20
	// maxHashes is the height of the largest tree.
	maxHashes = 63
)

// An Inclusion proves that a leaf is in the tree of a checkpoint.
type Inclusion struct {
	// Extra is for the reader of the proof. It is proven only as far as the leaf is
	// made from it.
	Extra      []byte
	Index      int64
	Hashes     tlog.RecordProof
	Checkpoint []byte // with its signatures
}

// Include proves that the leaf with an index is in the tree of a checkpoint.
func Include(hashes tlog.HashReader, c Checkpoint, index int64) (Inclusion, error) {
	if index < 0 || index >= c.Tree.N {
		return Inclusion{}, fmt.Errorf("entry %d is not in the checkpoint, which has %d", index, c.Tree.N)
	}
	p, err := tlog.ProveRecord(c.Tree.N, index, hashes)
	if err != nil {
		return Inclusion{}, fmt.Errorf("prove entry %d: %w", index, err)
	}
	return Inclusion{Index: index, Hashes: p, Checkpoint: c.Note}, nil
}

// Verify verifies the checkpoint's signatures, and that a leaf is in its tree. One of
// the signatures must be by a log's key, because a cosigner signs the checkpoints of any
// log. signers are the names of the known keys that have signed.
func (p *Inclusion) Verify(leaf tlog.Hash, known note.Verifiers) (c Checkpoint, signers []string, err error) {
	c, signers, byLog, err := open(p.Checkpoint, known)
	if err != nil {
		return c, nil, err
	}
	if !byLog {
		return c, nil, errors.New("only cosigners have signed the checkpoint, and no known key of a log")
	}
	if p.Index < 0 || p.Index >= c.Tree.N {
		return c, nil, fmt.Errorf("entry %d is not in the checkpoint, which has %d", p.Index, c.Tree.N)
	}
	if err := tlog.CheckRecord(p.Hashes, c.Tree.N, c.Tree.Hash, p.Index, leaf); err != nil {
		return c, nil, fmt.Errorf("entry %d is not in the tree of the checkpoint: %w", p.Index, err)
	}
	return c, signers, nil
}

// Append appends the proof as text (C2SP tlog-proof).
func (p *Inclusion) Append(dst []byte) []byte {
	dst = append(dst, inclusionHeader+"\n"...)
	if len(p.Extra) > 0 {
		dst = fmt.Appendf(dst, "extra %s\n", base64.StdEncoding.EncodeToString(p.Extra))
	}
	dst = fmt.Appendf(dst, "index %d\n", p.Index)
	dst = appendHashes(dst, p.Hashes)
	return append(append(dst, '\n'), p.Checkpoint...)
}

func appendHashes(dst []byte, hashes []tlog.Hash) []byte {
	for _, h := range hashes {
		dst = append(base64.StdEncoding.AppendEncode(dst, h[:]), '\n')
	}
	return dst
}

// ParseInclusion reads a proof.
func ParseInclusion(text []byte) (*Inclusion, error) {
	p, err := parseInclusion(text)
	if err != nil {
		return nil, fmt.Errorf("read a proof: %w", err)
	}
	return p, nil
}

func parseInclusion(text []byte) (*Inclusion, error) {
	if len(text) > 2*maxExtra {
		return nil, fmt.Errorf("it has %d bytes", len(text))
	}
	header, checkpoint, ok := bytes.Cut(text, []byte("\n\n"))
	if !ok || len(checkpoint) > maxCheckpoint {
		return nil, errors.New("it has no checkpoint")
	}
	lines := strings.SplitN(string(header), "\n", maxHashes+5) // the last one has the rest if there are more
	if lines[0] != inclusionHeader {
		return nil, fmt.Errorf("its first line is not %q", inclusionHeader)
	}
	lines = lines[1:]
	p := &Inclusion{Checkpoint: checkpoint}
	var err error
	if len(lines) > 0 {
		if extra, ok := strings.CutPrefix(lines[0], "extra "); ok {
			p.Extra, err = base64.StdEncoding.Strict().DecodeString(extra)
			if err != nil || len(p.Extra) == 0 || base64.StdEncoding.EncodeToString(p.Extra) != extra {
				return nil, errors.New("its extra data is not base64")
			}
			lines = lines[1:]
		}
	}
	if len(lines) == 0 {
		return nil, errors.New("it has no index")
	}
	index, ok := strings.CutPrefix(lines[0], "index ")
	if !ok {
		return nil, errors.New("it has no index")
	}
	if p.Index, err = parseSize(index); err != nil {
		return nil, fmt.Errorf("its index: %w", err)
	}
	p.Hashes, err = parseHashes(lines[1:])
	return p, err
}

func parseHashes(lines []string) ([]tlog.Hash, error) {
	if len(lines) > maxHashes {
		return nil, fmt.Errorf("it has %d hashes", len(lines))
	}
	var hashes []tlog.Hash
	for _, line := range lines {
		h, err := parseHash(line)
		if err != nil {
			return nil, err
		}
		hashes = append(hashes, h)
	}
	return hashes, nil
}

// Extends returns an error unless the newer tree has all leaves of the older tree at
// its beginning. hashes are those of the newer tree.
func Extends(hashes tlog.HashReader, older, newer tlog.Tree) error {
	switch {
	case older.N > newer.N:
		return fmt.Errorf("the older checkpoint has %d entries, and the newer one %d", older.N, newer.N)
	case older.N == newer.N && older.Hash != newer.Hash:
		return fmt.Errorf("two different trees of %d entries", older.N)
	case older.N == newer.N:
		return nil
	case older.N == 0:
		if empty, err := tlog.TreeHash(0, nil); err != nil || older.Hash != empty {
			return errors.Join(err, errors.New("the hash of the older checkpoint is not that of an empty tree"))
		}
		return nil
	}
	p, err := tlog.ProveTree(newer.N, older.N, hashes)
	if err != nil {
		return fmt.Errorf("prove that the tree of %d entries extends the one of %d: %w", newer.N, older.N, err)
	}
	if err := tlog.CheckTree(p, newer.N, newer.Hash, older.N, older.Hash); err != nil {
		return fmt.Errorf("the tree of %d entries does not extend the one of %d: %w", newer.N, older.N, err)
	}
	return nil
}
