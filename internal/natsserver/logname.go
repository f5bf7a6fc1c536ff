package natsserver

import (
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/nats-io/nats-server/v2/server"
)

// logNameFile holds the name of a log server, beside its store.
const logNameFile = "ID"

// ensureLogName returns the name of the log server whose store is in dir. The
// name and the store are made together and lost together: a store without a name
// is refused, and a folder without a store gets a new name. Otherwise a node that
// lost its disk would vote with an empty store under its old name, and the log
// could lose what that node had acknowledged. stored reports whether there is a store.
func ensureLogName(dir, node string) (name string, stored bool, err error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return "", false, fmt.Errorf("make folder: %w", err)
	}
	path, store := filepath.Join(dir, logNameFile), filepath.Join(dir, server.JetStreamStoreDir)
	_, err = os.Stat(store)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		name, err = newLogName(path, node)
		return name, false, err
	case err != nil:
		return "", false, fmt.Errorf("look for the store: %w", err)
	}
	text, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return "", true, fmt.Errorf("%s has a store, but %s with its server's name is missing: "+
			"move %s away and start again; this node then joins as a new log server", dir, path, dir)
	}
	if err != nil {
		return "", true, fmt.Errorf("read name: %w", err)
	}
	name = strings.TrimSpace(string(text))
	if digits, ok := strings.CutPrefix(name, node+"-"); !ok || !isLogSuffix(digits) {
		return "", true, fmt.Errorf("the store in %s belongs to the log server %q, but this node is %q: "+
			"restore the node's id, or move %s away and start again", dir, name, node, dir)
	}
	return name, true, nil
}

// newLogName draws a name and writes it, in place of a name without a store.
func newLogName(path, node string) (string, error) {
	var random [4]byte
	rand.Read(random[:]) // never fails
	name := node + "-" + hex.EncodeToString(random[:])
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return "", fmt.Errorf("replace name: %w", err)
	}
	if err := writeSecret(path, []byte(name+"\n")); err != nil {
		return "", fmt.Errorf("write name: %w", err)
	}
	return name, nil
}

func isLogSuffix(s string) bool {
	return len(s) == 8 && strings.Trim(s, "0123456789abcdef") == ""
}
