package daemon

import (
	"context"
	"fmt"
	"net"
	"os"
	"strconv"
	"strings"
	"time"
)

// notifyTimeout bounds the sending of one message to the service manager.
const notifyTimeout = 5 * time.Second

// A Notifier reports the state of a daemon to the service manager by systemd's
// protocol (sd_notify): READY=1 when the daemon serves, STOPPING=1 when it stops,
// and WATCHDOG=1 while it is alive. Without a service manager it does nothing.
//
// Being alive is less than being ready. A node that waits for its cluster, or
// whose disk is full, must not be restarted: a restart would not help, and would
// hide the cause. Only a process that is stuck is restarted.
type Notifier struct {
	// Alive calls into the parts of the daemon whose locks must not stay taken. It
	// returns nothing: a call that returns shows that the daemon is alive. If it
	// does not return, no further WATCHDOG=1 is sent, and systemd ends the process.
	// Nil means that the daemon is alive while its goroutines are scheduled.
	Alive func()

	socket   string        // empty: no service manager
	watchdog time.Duration // between two messages; 0: no watchdog
}

// NewNotifier returns a notifier for the service manager that environ names in
// NOTIFY_SOCKET, WATCHDOG_USEC and WATCHDOG_PID. It returns an error if one of them
// cannot be used.
func NewNotifier(environ []string, alive func()) (*Notifier, error) {
	n := &Notifier{Alive: alive, socket: variable(environ, "NOTIFY_SOCKET")}
	if n.socket == "" {
		return n, nil
	}
	if n.socket[0] != '/' && n.socket[0] != '@' {
		return nil, fmt.Errorf("NOTIFY_SOCKET %q: want an absolute path, or @ and the name of an abstract socket", n.socket)
	}
	usec, pid := variable(environ, "WATCHDOG_USEC"), variable(environ, "WATCHDOG_PID")
	if usec == "" || pid != "" && pid != strconv.Itoa(os.Getpid()) {
		return n, nil
	}
	period, err := strconv.ParseUint(usec, 10, 48)
	if err != nil || period < 2 {
		return nil, fmt.Errorf("WATCHDOG_USEC %q: want a number of microseconds", usec)
	}
	n.watchdog = time.Duration(period) * time.Microsecond / 2
	return n, nil
}

// variable returns the value of an environment variable, or "".
func variable(environ []string, name string) string {
	for _, e := range environ {
		if value, found := strings.CutPrefix(e, name+"="); found {
			return value
		}
	}
	return ""
}

// Run reports that the daemon serves, then that it is alive, until ctx is done;
// then that it stops. It returns an error if the service manager cannot be told
// that the daemon serves. A lost WATCHDOG=1 is no error: the next one follows
// within the time that systemd grants.
func (n *Notifier) Run(ctx context.Context) error {
	if n.socket == "" {
		return nil
	}
	if err := n.tell("READY=1"); err != nil {
		return fmt.Errorf("tell the service manager that the daemon serves: %w", err)
	}
	var beat <-chan time.Time
	if n.watchdog > 0 {
		ticker := time.NewTicker(n.watchdog)
		defer ticker.Stop()
		beat = ticker.C
	}
	for {
		select {
		case <-ctx.Done():
			// systemd has seen the signal that ends the daemon, or will see its end.
			_ = n.tell("STOPPING=1")
			return nil
		case <-beat:
			if n.Alive != nil {
				n.Alive()
			}
			_ = n.tell("WATCHDOG=1")
		}
	}
}

// tell sends one message to the service manager.
func (n *Notifier) tell(state string) error {
	conn, err := net.DialUnix("unixgram", nil, &net.UnixAddr{Name: n.socket, Net: "unixgram"})
	if err != nil {
		return err
	}
	defer conn.Close()
	if err := conn.SetWriteDeadline(time.Now().Add(notifyTimeout)); err != nil {
		return err
	}
	_, err = conn.Write([]byte(state))
	return err
}
