package eventlog_test

import (
	"bytes"
	"context"
	"encoding/gob"
	"errors"
	"io"
	"math/rand/v2"
	"net/rpc"
	"os"
	"os/exec"
	"testing"
	"time"

	"github.com/postern-im/postern/events"
	"github.com/postern-im/postern/events/logtest"
)

// answerTime is how long a call to a process may take on a busy machine.
const answerTime = 20 * time.Second

var errNoAnswer = errors.New("no answer in time")

// A process is a machine whose disk returns errors.
type process struct {
	boot  Boot   // for the next start; Files is the disk's content
	child *child // nil if no process runs
}

func newProcess() logtest.Machine { return &process{} }

func (p *process) Boot() (logtest.Log, error) {
	c, err := start()
	if err != nil {
		return nil, err
	}
	p.child = c
	if err := c.call("Server.Boot", p.boot, &c.logID); err != nil {
		return nil, err
	}
	return c, nil
}

func (p *process) Break(rng *rand.Rand) {
	f := DiskFault{At: rng.IntN(60), Writes: true, Happened: rng.IntN(2) == 1, All: rng.IntN(2) == 1}
	if p.child == nil {
		p.boot.Fault = &f
		return
	}
	if err := p.child.call("Server.Break", f, &struct{}{}); err != nil {
		panic(err) // no fault is set yet
	}
}

func (p *process) Crash(rng *rand.Rand) {
	left := p.boot.Files
	if p.child != nil {
		if changed := p.child.kill(); changed != nil {
			left = changed
		}
	}
	*p = process{boot: Boot{Files: left, Percent: keep(rng), Seed: rng.Uint64()}}
}

// A child is a running process with a log in it.
type child struct {
	logID  string
	cmd    *exec.Cmd
	client *rpc.Client
	stderr bytes.Buffer
	states chan map[string][]byte // the disk's last content, once the process has ended
}

func start() (*child, error) {
	c := &child{cmd: exec.Command(os.Args[0]), states: make(chan map[string][]byte, 1)}
	c.cmd.Env = append(os.Environ(), serverVariable+"=1")
	c.cmd.Stderr = &c.stderr
	in, err := c.cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	out, err := c.cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	states, write, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	c.cmd.ExtraFiles = []*os.File{write}
	if err := c.cmd.Start(); err != nil {
		return nil, err
	}
	write.Close()
	c.client = rpc.NewClient(struct {
		io.Reader
		io.WriteCloser
	}{out, in})
	go func() {
		defer states.Close()
		var last map[string][]byte
		for d := gob.NewDecoder(states); ; {
			var next Change
			if d.Decode(&next) != nil { // the end of the stream, or an incomplete change
				c.states <- last
				return
			}
			if last == nil {
				last = map[string][]byte{}
			}
			next.apply(last)
		}
	}()
	return c, nil
}

// call fails if the process has ended or does not answer.
func (c *child) call(method string, in, out any) error {
	late := time.NewTimer(answerTime)
	defer late.Stop()
	call := c.client.Go(method, in, out, make(chan *rpc.Call, 1))
	select {
	case <-call.Done:
		return call.Error
	case <-late.C:
		return errNoAnswer
	}
}

// kill ends the process and returns what is left on its disk.
func (c *child) kill() map[string][]byte {
	c.cmd.Process.Kill()
	left := <-c.states
	c.client.Close()
	c.cmd.Wait()
	return left
}

func (c *child) LogID() string { return c.logID }

func (c *child) Head() (events.Position, [32]byte) {
	var a Answer
	if err := c.call("Server.Head", struct{}{}, &a); err != nil {
		return 0, [32]byte{}
	}
	return a.Head, a.Hash
}

func (c *child) Append(_ context.Context, head events.Position, commits ...*events.Commit) error {
	var a Answer
	if err := c.call("Server.Append", Appending{head, commits}, &a); err != nil {
		return err
	}
	if err := a.err(); err != nil {
		return err
	}
	for i := range commits {
		*commits[i] = utc(a.Commits[i])
	}
	return nil
}

func (c *child) Read(_ context.Context, from events.Position, fn func(*events.Commit) error) error {
	var a Answer
	if err := c.call("Server.Read", from, &a); err != nil {
		return err
	}
	for i := range a.Commits {
		commit := utc(a.Commits[i])
		if err := fn(&commit); err != nil {
			return err
		}
	}
	return a.err()
}

func (c *child) ByCommand(tenant, commandID string) (events.Commit, bool, error) {
	var a Answer
	if err := c.call("Server.ByCommand", [2]string{tenant, commandID}, &a); err != nil {
		return events.Commit{}, false, err
	}
	if len(a.Commits) == 0 {
		return events.Commit{}, false, a.err()
	}
	return utc(a.Commits[0]), true, a.err()
}

func (c *child) Wait(context.Context, events.Position) (events.Position, error) {
	return 0, errors.ErrUnsupported
}

func (c *child) Verify(context.Context) error {
	var a Answer
	if err := c.call("Server.Verify", struct{}{}, &a); err != nil {
		return err
	}
	return a.err()
}

func (c *child) Close() error {
	var a Answer
	if err := c.call("Server.Close", struct{}{}, &a); err != nil {
		return err
	}
	return a.err()
}

// utc undoes gob's change to a time's location.
func utc(c events.Commit) events.Commit {
	c.Time = c.Time.UTC()
	return c
}

func TestDiskErrors(t *testing.T) {
	t.Parallel()
	logtest.RunFaults(t, soak(4, 300), newProcess)
}
