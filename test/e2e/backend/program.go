package backend

import (
	"context"
	"fmt"
	"syscall"
)

// A Program is any other program that runs beside the servers, with the same
// promises: its output is kept, it does not outlive this process, and Stop
// leaves nothing of it behind.
type Program struct {
	process *process
}

// StartProgram runs a program with its output appended to a file.
func StartProgram(output, path string, args ...string) (*Program, error) {
	p, err := startProcess(command{path: path, args: args}, output)
	if err != nil {
		return nil, fmt.Errorf("start %s: %w", path, err)
	}
	return &Program{p}, nil
}

// Stop asks the program to end, and kills it if it has not ended in time.
func (p *Program) Stop() error { return p.process.end(stopTimeout) }

// Kill ends the program at once.
func (p *Program) Kill() error { return p.process.end(0) }

// PID is the id of the program's process.
func (p *Program) PID() int { return p.process.group }

// WaitFor repeats an attempt until it succeeds. It gives up when the program or
// ctx has ended.
func (p *Program) WaitFor(ctx context.Context, attempt func(context.Context) error) error {
	return poll(ctx, p.process.ended, attempt)
}

// FreeAddrs finds n loopback addresses at which no program listens.
func FreeAddrs(n int) ([]string, error) {
	host := freeHost()
	ports, err := freePortList(host, n)
	if err != nil {
		return nil, err
	}
	addrs := make([]string, n)
	for i, port := range ports {
		addrs[i] = address(host, port)
	}
	return addrs, nil
}

// Pause stops the program's threads, so that it does nothing and its connections
// stay open. A paused program cannot end: Resume it before Stop.
func (p *Program) Pause() error { return p.process.signal(syscall.SIGSTOP) }

// Resume lets a paused program run again.
func (p *Program) Resume() error { return p.process.signal(syscall.SIGCONT) }
