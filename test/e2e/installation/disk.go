package installation

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"syscall"

	"github.com/postern-im/postern/test/e2e/backend"
)

// A smallDisk is a file system in memory that holds one node's data. It is mounted in
// a mount namespace of its own, which one process keeps alive: when the process ends,
// however it ends, the file system is gone. The node's program enters the namespace.
type smallDisk struct {
	holder *backend.Program
	enter  []string // the command that runs a program in the namespace
	dir    string   // the mounted folder, as programs outside the namespace reach it
}

// namespaces are the ways to a mount namespace: as root, and as any user in a user
// namespace. Each is the arguments of unshare(1) and of nsenter(1).
var namespaces = []struct{ unshare, nsenter []string }{
	{[]string{"--mount"}, []string{"--mount"}},
	{[]string{"--mount", "--map-root-user"}, []string{"--mount", "--user", "--preserve-credentials"}},
}

// holdText mounts a file system of $1 bytes at $0, makes the file $2, and waits until
// it is killed.
const holdText = `mount -t tmpfs -o "size=$1,mode=0700" tmpfs "$0" && : >"$2" && exec sleep infinity`

// mountDisk mounts a file system of some bytes at a folder.
func mountDisk(ctx context.Context, dir string, size uint64) (*smallDisk, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	var failures []error
	for _, way := range namespaces {
		try := append(append([]string{}, way.unshare...), "mount", "-t", "tmpfs", "tmpfs", dir)
		if said, err := exec.CommandContext(ctx, "unshare", try...).CombinedOutput(); err != nil {
			failures = append(failures, fmt.Errorf("unshare %q: %w: %s", try, err, said))
			continue
		}
		made := dir + ".mounted"
		hold := append(append([]string{}, way.unshare...), "sh", "-c", holdText, dir, strconv.FormatUint(size, 10), made)
		holder, err := backend.StartProgram(dir+".log", "unshare", hold...)
		if err != nil {
			return nil, err
		}
		d := &smallDisk{holder: holder, dir: filepath.Join("/proc", strconv.Itoa(holder.PID()), "root", dir)}
		d.enter = append([]string{"nsenter", "--target", strconv.Itoa(holder.PID())}, way.nsenter...)
		return d, holder.WaitFor(ctx, func(context.Context) error {
			_, err := os.Stat(made)
			return err
		})
	}
	return nil, fmt.Errorf("a full disk needs a small file system, and this machine lets this user mount none: "+
		"run the test as root with CAP_SYS_ADMIN (a container: --privileged), or allow user namespaces: %w", errors.Join(failures...))
}

// ballast is the file that fills a disk.
func (d *smallDisk) ballast() string { return filepath.Join(d.dir, "ballast") }

// fill uses up the disk to its last block.
func (d *smallDisk) fill() error {
	f, err := os.OpenFile(d.ballast(), os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer f.Close()
	var size int64
	for chunk := int64(16 << 20); chunk >= 4096; {
		switch err := syscall.Fallocate(int(f.Fd()), 0, size, chunk); {
		case err == nil:
			size += chunk
		case errors.Is(err, syscall.ENOSPC):
			chunk /= 2
		case !errors.Is(err, syscall.EINTR):
			return fmt.Errorf("fill %s: %w", d.dir, err)
		}
	}
	return nil
}

// Small reports whether a node's data is on a small disk.
func (c *Cluster) Small(node int) bool { return c.Nodes[node].disk != nil }

// Fill uses up the small disk of a node to its last block, until Free.
func (c *Cluster) Fill(node int) error { return c.Nodes[node].disk.fill() }

// Free makes room on the small disk of a node again.
func (c *Cluster) Free(node int) error { return os.Remove(c.Nodes[node].disk.ballast()) }

// mount mounts the small disks. The first node has none, because the cluster's log is
// created in its folder before any program runs.
func (c *Cluster) mount(ctx context.Context) (err error) {
	if c.config.SmallDisk == 0 {
		return nil
	}
	for _, n := range c.Nodes[1:] {
		if n.disk, err = mountDisk(ctx, n.Data(), c.config.SmallDisk); err != nil {
			return err
		}
	}
	return nil
}
