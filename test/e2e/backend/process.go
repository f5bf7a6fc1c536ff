package backend

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// command is a program to run.
type command struct {
	path string
	args []string
	env  []string // added to this program's own environment
	dir  string
}

// process is a running server, in a process group of its own.
type process struct {
	group int           // id of the process, and of its group
	ended chan struct{} // closed when the process has been waited for
	err   error         // the result of Wait; read it after ended
}

// startProcess runs c with its output appended to a file.
//
// The kernel kills the process when the thread that started it ends. Therefore
// one goroutine keeps its thread until the process ends, so that a test that
// panics or is killed leaves no server behind.
func startProcess(c command, output string) (*process, error) {
	file, err := os.OpenFile(output, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, err
	}
	cmd := exec.Command(c.path, c.args...)
	cmd.Env = append(os.Environ(), c.env...)
	cmd.Dir = c.dir
	cmd.Stdout, cmd.Stderr = file, file
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}

	p := &process{ended: make(chan struct{})}
	started := make(chan error)
	go func() {
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		defer file.Close()
		err := cmd.Start()
		if err == nil {
			p.group = cmd.Process.Pid
		}
		started <- err
		if err != nil {
			return
		}
		p.err = cmd.Wait()
		close(p.ended)
	}()
	if err := <-started; err != nil {
		return nil, err
	}
	return p, nil
}

// signal sends a signal to the process group.
func (p *process) signal(s syscall.Signal) error {
	if err := syscall.Kill(-p.group, s); err != nil {
		return fmt.Errorf("signal process group %d: %w", p.group, err)
	}
	return nil
}

// end terminates the process and kills it after grace, at once if grace is
// zero. It returns when the process and all its descendants are gone. Erlang's
// helper programs are session leaders: a signal to the group or to their parent
// does not reach them, and they notice the parent's death only a little later.
func (p *process) end(grace time.Duration) error {
	all := family(p.group)
	if grace > 0 {
		if err := syscall.Kill(-p.group, syscall.SIGTERM); err != nil && !errors.Is(err, syscall.ESRCH) {
			return fmt.Errorf("signal process group %d: %w", p.group, err)
		}
		timer := time.NewTimer(grace)
		defer timer.Stop()
		select {
		case <-p.ended:
		case <-timer.C:
			all = append(all, family(p.group)...)
		}
	}
	deadline := time.Now().Add(stopTimeout)
	for {
		left := 0
		for _, id := range all {
			if id.running() {
				left++
				// ESRCH means that it has ended meanwhile. A signal to a child
				// cannot fail otherwise; the deadline would show it.
				_ = syscall.Kill(id.pid, syscall.SIGKILL)
			}
		}
		if left == 0 {
			<-p.ended
			return nil
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("%d processes of server %d survive SIGKILL", left, p.group)
		}
		time.Sleep(pollInterval)
	}
}

// identity distinguishes a process from a later one with the same id.
type identity struct {
	pid     int
	started string // in the kernel's clock ticks
}

// running reports whether the process is alive. A zombie is not alive: if it is
// an orphan, the first process reaps it at some later time.
func (id identity) running() bool {
	stat, ok := readStat(id.pid)
	return ok && stat.started == id.started && stat.state != "Z" && stat.state != "X"
}

// family returns a process and all its descendants.
func family(root int) []identity {
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return nil
	}
	children := map[int][]identity{}
	var found []identity
	for _, entry := range entries {
		pid, err := strconv.Atoi(entry.Name())
		if err != nil {
			continue
		}
		stat, ok := readStat(pid)
		if !ok {
			continue
		}
		children[stat.parent] = append(children[stat.parent], identity{pid, stat.started})
		if pid == root {
			found = append(found, identity{pid, stat.started})
		}
	}
	for i := 0; i < len(found); i++ {
		found = append(found, children[found[i].pid]...)
	}
	return found
}

// processStat holds the fields of proc_pid_stat(5) that this package uses.
type processStat struct {
	state, started string
	parent         int
}

func readStat(pid int) (processStat, bool) {
	text, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	if err != nil {
		return processStat{}, false
	}
	// The program's name, in parentheses, may contain any characters. The
	// state, the parent and the other fields follow the last parenthesis; the
	// start time is the 20th of them.
	fields := strings.Fields(string(text[bytes.LastIndexByte(text, ')')+1:]))
	if len(fields) < 20 {
		return processStat{}, false
	}
	parent, err := strconv.Atoi(fields[1])
	return processStat{state: fields[0], started: fields[19], parent: parent}, err == nil
}
