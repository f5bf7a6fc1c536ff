//go:build e2e

package e2e

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/postern-im/postern/test/e2e/client"
	"github.com/postern-im/postern/test/e2e/installation"
)

// TestTerminalClients runs Debian's terminal clients through the gateway, as
// people use them. Each sends a message and shows one that it receives.
func TestTerminalClients(t *testing.T) {
	for _, kind := range kinds {
		tg, _ := through(kind)
		for _, security := range securities {
			for name, run := range map[string]func(context.Context, *testing.T, target, client.Security){
				"go-sendxmpp": runGoSendxmpp,
				"profanity":   runProfanity,
			} {
				t.Run(string(kind)+"/"+name+"/"+string(security), func(t *testing.T) {
					t.Parallel()
					run(waiting(t), t, tg, security)
				})
			}
		}
	}
}

// correspondent logs in a session that exchanges messages with a client.
func correspondent(ctx context.Context, t *testing.T, tg target) *client.Client {
	t.Helper()
	c := login(ctx, t, tg.clientConfig(t, newAccount(t, tg.server, "friend", "alpha.test"), client.DirectTLS))
	send(ctx, t, c, "<presence/>")
	return c
}

// boundAs waits until the gateway has bound a session of an account, and
// returns its full JID. A message to a full JID does not need the session's
// presence.
func boundAs(ctx context.Context, t *testing.T, in *installation.Installation, a account) (full string) {
	t.Helper()
	err := in.Gateway.WaitFor(ctx, func(context.Context) error {
		text, err := os.ReadFile(in.GatewayLog())
		if err != nil {
			return err
		}
		for line := range strings.Lines(string(text)) {
			var entry struct{ Msg, JID string }
			if json.Unmarshal([]byte(line), &entry) == nil && entry.Msg == "session bound" && strings.HasPrefix(entry.JID, a.jid+"/") {
				full = entry.JID
				return nil
			}
		}
		return errors.New("no session of " + a.jid + " is bound")
	})
	if err != nil {
		t.Fatal(err)
	}
	return full
}

// wantMessage waits for a message from an account.
func wantMessage(ctx context.Context, t *testing.T, c *client.Client, from account, body string) {
	t.Helper()
	m, err := c.Expect(ctx, client.HasBody(body))
	if err != nil {
		t.Fatal(err)
	}
	if bare, _, _ := strings.Cut(m.Attr("from"), "/"); bare != from.jid {
		t.Errorf("the message is from %s, want %s", m.Attr("from"), from.jid)
	}
}

// runGoSendxmpp sends with one run of the program and listens with another run
// under a second account. Under one account, the message to the listener could
// go to the sending session, which is about to end.
func runGoSendxmpp(ctx context.Context, t *testing.T, tg target, security client.Security) {
	friend := correspondent(ctx, t, tg)
	sender, listener := newAccount(t, tg.server, "sender", "alpha.test"), newAccount(t, tg.server, "listener", "alpha.test")
	command := func(a account, last string) *exec.Cmd {
		args := []string{"-u", a.jid, "-p", a.password, "-j", tg.address(security)}
		if security == client.DirectTLS {
			args = append(args, "-t")
		}
		cmd := exec.CommandContext(ctx, "go-sendxmpp", append(args, last)...)
		cmd.Env = append(os.Environ(), "SSL_CERT_FILE="+tg.caFile, "HOME="+t.TempDir())
		return cmd
	}
	mark := unique("sent")
	sending := command(sender, friend.Bare())
	sending.Stdin = strings.NewReader(mark + "\n")
	if output, err := sending.CombinedOutput(); err != nil {
		t.Fatalf("send: %v: %s", err, output)
	}
	wantMessage(ctx, t, friend, sender, mark)

	listening := show(t, command(listener, "-l"))
	full := boundAs(ctx, t, installations[tg.server.Kind()], listener)
	mark = unique("heard")
	send(ctx, t, friend, "<message type='chat' to='"+client.Escape(full)+"'><body>"+mark+"</body></message>")
	listening.await(ctx, t, mark)
}

// runProfanity types commands into profanity. It needs a terminal, which
// script(1) provides.
func runProfanity(ctx context.Context, t *testing.T, tg target, security client.Security) {
	a, friend := newAccount(t, tg.server, "profanity", "alpha.test"), correspondent(ctx, t, tg)
	home := t.TempDir()
	host, port, err := net.SplitHostPort(tg.address(security))
	if err != nil {
		t.Fatal(err)
	}
	policy := map[client.Security]string{client.StartTLS: "force", client.DirectTLS: "legacy"}[security]
	for name, text := range map[string]string{
		"config/profanity/profrc": fmt.Sprintf("[connection]\ntls.certpath=%s\n", trustFolder(t, tg.caFile)),
		"data/profanity/accounts": fmt.Sprintf("[me]\nenabled=true\njid=%s\npassword=%s\nresource=r\nserver=%s\nport=%s\ntls.policy=%s\n",
			a.jid, a.password, host, port, policy),
	} {
		file := filepath.Join(home, name)
		if err := os.MkdirAll(filepath.Dir(file), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	cmd := exec.CommandContext(ctx, "script", "-qec", "stty cols 150 rows 40; exec profanity -a me", os.DevNull)
	cmd.Env = append(os.Environ(), "HOME="+home, "XDG_CONFIG_HOME="+home+"/config", "XDG_DATA_HOME="+home+"/data",
		"XDG_CACHE_HOME="+home+"/cache", "TERM=xterm")
	keys, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	window := show(t, cmd)
	enter := func(line string) {
		t.Helper()
		if _, err := keys.Write([]byte(line + "\r")); err != nil {
			t.Fatal(err)
		}
	}
	window.await(ctx, t, "logged in successfully")
	mark := unique("sent")
	enter("/msg " + friend.Bare() + " " + mark)
	wantMessage(ctx, t, friend, a, mark)
	mark = unique("heard")
	send(ctx, t, friend, "<message type='chat' to='"+a.jid+"'><body>"+mark+"</body></message>")
	window.await(ctx, t, mark)
	enter("/quit")
	if err := window.wait(); err != nil {
		t.Errorf("profanity ends with %v", err)
	}
}

// trustFolder creates a folder of trusted certificates in OpenSSL's form: the
// file is named by a hash of the certificate's subject.
func trustFolder(t *testing.T, caFile string) string {
	t.Helper()
	hash, err := exec.CommandContext(t.Context(), "openssl", "x509", "-noout", "-hash", "-in", caFile).Output()
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	if err := os.Symlink(caFile, filepath.Join(dir, strings.TrimSpace(string(hash))+".0")); err != nil {
		t.Fatal(err)
	}
	return dir
}

// A shown is a running program whose output the test reads.
type shown struct {
	cmd  *exec.Cmd
	wait func() error // waits for the program's end

	mu   sync.Mutex
	text bytes.Buffer  // guarded by mu
	more chan struct{} // closed and replaced with each output; guarded by mu
}

// show starts a program, which is killed at the end of the test.
func show(t *testing.T, cmd *exec.Cmd) *shown {
	t.Helper()
	s := &shown{cmd: cmd, more: make(chan struct{})}
	cmd.Stdout, cmd.Stderr, cmd.WaitDelay = s, s, 5*time.Second
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	s.wait = sync.OnceValue(cmd.Wait)
	t.Cleanup(func() {
		_ = cmd.Process.Kill() // the program may have ended already
		_ = s.wait()
	})
	return s
}

func (s *shown) Write(b []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	close(s.more)
	s.more = make(chan struct{})
	return s.text.Write(b)
}

// await waits until the program has printed a text.
func (s *shown) await(ctx context.Context, t *testing.T, what string) {
	t.Helper()
	for {
		s.mu.Lock()
		text, more := s.text.String(), s.more
		s.mu.Unlock()
		if strings.Contains(text, what) {
			return
		}
		select {
		case <-more:
		case <-ctx.Done():
			t.Fatalf("%s does not print %q: %q", s.cmd.Path, what, text)
		}
	}
}
