package eventlog_test

import (
	"bytes"
	"context"
	"encoding/gob"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/rpc"
	"os"
	"path"
	"slices"
	"sync"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/postern-im/postern/events"
	"github.com/postern-im/postern/events/eventlog"
)

// Disk errors need a process that may die. Pebble reacts to them with its
// Fatalf or with a panic, on any goroutine, and the state that it leaves in the
// process (pooled buffers, for example) could affect later logs. Therefore the
// log runs in its own process, on a disk in that process's memory. Each time
// the content that a crash would leave on the disk changes, the process sends
// it to the test, before the operation that changed it returns.

// serverVariable makes the test binary serve a log instead of running tests.
const serverVariable = "EVENTLOG_TEST_SERVER"

func TestMain(m *testing.M) {
	// gob must know the events that author writes.
	gob.Register(events.RoleDefined{})
	gob.Register(events.MemberRolesSet{})
	if os.Getenv(serverVariable) != "" {
		serve()
		return
	}
	os.Exit(m.Run())
}

// A DiskFault describes which operation of a disk fails, and how.
type DiskFault struct {
	At       int  // the number of the first failing operation, from 0
	Writes   bool // only write operations count and fail
	Happened bool // it takes effect, then fails
	All      bool // all later operations fail too
}

func (f DiskFault) fault() fault {
	n := -1
	fails := func() error { return errDisk }
	return func(write bool) (before, after func() error) {
		if f.Writes && !write {
			return nil, nil
		}
		n++
		switch {
		case n < f.At || n > f.At && !f.All:
			return nil, nil
		case f.Happened:
			return nil, fails
		default:
			return fails, nil
		}
	}
}

// Boot holds what a process needs to start.
type Boot struct {
	Files map[string][]byte
	Fault *DiskFault
	// Percent is how much unsynced data a crash leaves.
	Percent int
	Seed    uint64
	// Clustered opens the log for a member of a cluster.
	Clustered bool
	// Recover makes the log panic where it would otherwise end the process, and
	// makes the process survive the panic.
	Recover bool
}

// serve runs the process: it serves a log on stdin and stdout, and sends the
// disk's content to file 3.
func serve() {
	s := &Server{states: gob.NewEncoder(os.NewFile(3, "states"))}
	server := rpc.NewServer()
	if err := server.Register(s); err != nil {
		panic(err)
	}
	server.ServeConn(struct {
		io.Reader
		io.WriteCloser
	}{os.Stdin, os.Stdout})
}

// A Server is the log in the process. Its methods are exported for net/rpc.
type Server struct {
	disk    *disk
	log     *eventlog.Log
	recover bool

	mu     sync.Mutex // guards what follows
	states *gob.Encoder
	sent   map[string][]byte // the content that the test knows
}

// A Change is the difference between two contents of a disk. It is mostly
// small.
type Change struct {
	Files map[string][]byte
	Gone  []string
}

// changeTo returns the change from one content of a disk to another.
func changeTo(files, from map[string][]byte) Change {
	c := Change{Files: map[string][]byte{}}
	for name, data := range files {
		if old, ok := from[name]; !ok || !bytes.Equal(old, data) {
			c.Files[name] = data
		}
	}
	for name := range from {
		if _, ok := files[name]; !ok {
			c.Gone = append(c.Gone, name)
		}
	}
	return c
}

// apply applies the change.
func (c Change) apply(files map[string][]byte) {
	maps.Copy(files, c.Files)
	for _, name := range c.Gone {
		delete(files, name)
	}
}

// prepare creates the disk and returns the configuration for opening a log on
// it.
func (s *Server) prepare(b Boot) (c eventlog.Config, err error) {
	mem := vfs.NewCrashableMem()
	if err := writeFiles(mem, b.Files); err != nil {
		return c, err
	}
	s.disk = newDisk(mem)
	s.disk.each(func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		left, err := readFiles(s.disk.afterCrash(b.Percent, b.Seed))
		if err != nil {
			panic(err)
		}
		if err := s.states.Encode(changeTo(left, s.sent)); err != nil {
			os.Exit(1) // the test has ended
		}
		s.sent = left
	})
	if b.Fault != nil {
		s.disk.breakBy(b.Fault.fault())
	}
	c = eventlog.Config{Dir: "var/log", FS: s.disk, Clustered: b.Clustered, Fatal: func(string) { os.Exit(3) }}
	if s.recover = b.Recover; s.recover {
		c.Fatal = nil
	}
	return c, nil
}

// Boot opens the log.
func (s *Server) Boot(b Boot, logID *string) error {
	c, err := s.prepare(b)
	if err != nil {
		return err
	}
	s.log, err = eventlog.Open(c)
	if err == nil {
		*logID = s.log.LogID()
	}
	return err
}

// Break sets the fault of the disk.
func (s *Server) Break(f DiskFault, _ *struct{}) error {
	s.disk.breakBy(f.fault())
	return nil
}

// An Appending holds the arguments of Append.
type Appending struct {
	Head    events.Position
	Commits []*events.Commit
}

// An Answer is the result of any call. Errors that callers distinguish have
// their own fields.
type Answer struct {
	Head     events.Position
	Hash     [32]byte
	Commits  []events.Commit
	Conflict *events.ConflictError
	Corrupt  *events.CorruptError
	Failed   bool
	Err      string
}

func (a *Answer) set(err error) error {
	if err == nil {
		return nil
	}
	a.Err = err.Error()
	a.Failed = errors.Is(err, events.ErrFailed)
	a.Conflict, _ = errors.AsType[*events.ConflictError](err)
	if corrupt, ok := errors.AsType[*events.CorruptError](err); ok {
		a.Corrupt = &events.CorruptError{Position: corrupt.Position} // its cause is in Err
	}
	return nil
}

func (a *Answer) err() error {
	switch {
	case a.Err == "":
		return nil
	case a.Conflict != nil:
		return a.Conflict
	case a.Corrupt != nil:
		return &events.CorruptError{Position: a.Corrupt.Position, Err: errors.New(a.Err)}
	case a.Failed:
		return fmt.Errorf("%w: %s", events.ErrFailed, a.Err)
	default:
		return errors.New(a.Err)
	}
}

// Operations returns the number of the disk's operations so far.
func (s *Server) Operations(_ struct{}, n *int) error {
	*n = s.disk.operations()
	return nil
}

// Head returns the log's head.
func (s *Server) Head(_ struct{}, a *Answer) error {
	a.Head, a.Hash = s.log.Head()
	return nil
}

// Append appends, and returns the commits as they are afterwards.
func (s *Server) Append(in Appending, a *Answer) error {
	if s.recover {
		defer func() {
			if why := recover(); why != nil {
				a.Err = fmt.Sprint(why)
			}
		}()
	}
	err := s.log.Append(context.Background(), in.Head, in.Commits...)
	for _, c := range in.Commits {
		a.Commits = append(a.Commits, *c)
	}
	return a.set(err)
}

// Read returns all commits from a position.
func (s *Server) Read(from events.Position, a *Answer) error {
	return a.set(s.log.Read(context.Background(), from, func(c *events.Commit) error {
		a.Commits = append(a.Commits, c.Clone())
		return nil
	}))
}

// ByCommand returns one commit or none.
func (s *Server) ByCommand(id [2]string, a *Answer) error {
	c, found, err := s.log.ByCommand(id[0], id[1])
	if found {
		a.Commits = append(a.Commits, c)
	}
	return a.set(err)
}

// Verify verifies the log.
func (s *Server) Verify(_ struct{}, a *Answer) error {
	return a.set(s.log.Verify(context.Background()))
}

// Close closes the log.
func (s *Server) Close(_ struct{}, a *Answer) error { return a.set(s.log.Close()) }

// readFiles returns a file system's files by path. Folders end in a slash.
func readFiles(fs vfs.FS) (map[string][]byte, error) {
	files := map[string][]byte{}
	var walk func(dir string) error
	walk = func(dir string) error {
		names, err := fs.List(dir)
		if err != nil {
			return err
		}
		for _, name := range names {
			name = path.Join(dir, name)
			info, err := fs.Stat(name)
			if err != nil {
				return err
			}
			if info.IsDir() {
				files[name+"/"] = nil
				if err := walk(name); err != nil {
					return err
				}
				continue
			}
			f, err := fs.Open(name)
			if err != nil {
				return err
			}
			files[name] = make([]byte, info.Size())
			if _, err := io.ReadFull(f, files[name]); err != nil {
				return err
			}
			if err := f.Close(); err != nil {
				return err
			}
		}
		return nil
	}
	return files, walk("/")
}

// writeFiles is the reverse of readFiles, and makes all files durable.
func writeFiles(fs *vfs.MemFS, files map[string][]byte) error {
	names := make([]string, 0, len(files))
	for name := range files {
		names = append(names, name)
	}
	slices.Sort(names) // folders before what is in them
	folders := []string{"/"}
	for _, name := range names {
		if path.Base(name)+"/" == name[max(0, len(name)-len(path.Base(name))-1):] {
			folders = append(folders, name)
			if err := fs.MkdirAll(name, 0o755); err != nil {
				return err
			}
			continue
		}
		f, err := fs.Create(name, vfs.WriteCategoryUnspecified)
		if err != nil {
			return err
		}
		if _, err := f.Write(slices.Clone(files[name])); err != nil {
			return err
		}
		if err := errors.Join(f.Sync(), f.Close()); err != nil {
			return err
		}
	}
	for _, name := range folders {
		d, err := fs.OpenDir(name)
		if err != nil {
			return err
		}
		if err := errors.Join(d.Sync(), d.Close()); err != nil {
			return err
		}
	}
	return nil
}
