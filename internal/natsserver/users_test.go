package natsserver

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nkeys"
)

// TestSetUsers adds and removes users while clients are connected: a new key can
// connect at once, a removed key is cut off and refused, and the connections and
// subscriptions of all others stay.
func TestSetUsers(t *testing.T) {
	own, ownSeed := user(t, []string{">"}, []string{">"})
	own.InProcess = true
	stays, staysSeed := user(t, []string{"a"}, []string{"a", "b"})
	leaves, leavesSeed := user(t, []string{"a"}, []string{"a"})
	comes, comesSeed := user(t, []string{"b"}, []string{"b"})
	refused := make(chan Refusal, 10)
	cfg := config(t, own)
	cfg.OnRefused = func(r Refusal) { refused <- r }
	made, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	if err := made.SetUsers([]User{own, stays, leaves}); err != nil { // before it runs
		t.Fatal(err)
	}
	s := run(t, made)

	lost := make(chan string, 10)
	watch := func(name string) nats.Option {
		return nats.DisconnectErrHandler(func(*nats.Conn, error) { lost <- name })
	}
	inside, _ := dial(t, s, ownSeed, nats.InProcessServer(s), watch("inside"))
	keeping, _ := dial(t, s, staysSeed, watch("stays"))
	leaving, _ := dial(t, s, leavesSeed, watch("leaves"), nats.NoReconnect())
	heard, err := keeping.SubscribeSync("b")
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []*nats.Conn{keeping, leaving, inside} {
		if err := c.Flush(); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.SetUsers([]User{own, stays, comes}); err != nil {
		t.Fatal(err)
	}
	select {
	case name := <-lost:
		if name != "leaves" {
			t.Errorf("%s was cut off", name)
		}
	case <-time.After(10 * time.Second):
		t.Fatal("the removed user was not cut off")
	}
	if c, err := nats.Connect("nats://"+s.Addr().String(), auth(t, leavesSeed)); !errors.Is(err, nats.ErrAuthorization) {
		t.Errorf("the removed user connects again: %v, %v", c, err)
	}
	if r := <-refused; r != (Refusal{From: "127.0.0.1", Key: leaves.PublicKey}) {
		t.Errorf("the attempt was reported as %+v", r)
	}
	coming, _ := dial(t, s, comesSeed)
	if err := coming.Publish("b", []byte("new")); err != nil {
		t.Fatal(err)
	}
	if m, err := heard.NextMsg(10 * time.Second); err != nil || string(m.Data) != "new" {
		t.Errorf("the subscription of a user that stays: %v, %v", m, err)
	}
	if err := inside.Publish("b", []byte("inside")); err != nil {
		t.Fatal(err)
	}
	if m, err := heard.NextMsg(10 * time.Second); err != nil || string(m.Data) != "inside" {
		t.Errorf("the connection inside the process: %v, %v", m, err)
	}

	// A user whose rights change keeps its connection, with the new rights.
	stays.Publish = []string{"b"}
	if err := s.SetUsers([]User{own, stays, comes}); err != nil {
		t.Fatal(err)
	}
	if err := keeping.Publish("b", []byte("more")); err != nil {
		t.Fatal(err)
	}
	if m, err := heard.NextMsg(10 * time.Second); err != nil || string(m.Data) != "more" {
		t.Errorf("a new right: %v, %v", m, err)
	}
	select {
	case name := <-lost:
		t.Errorf("%s was cut off", name)
	default:
	}

	// A refused list changes nothing.
	for want, users := range map[string][]User{
		"no users":        {},
		"two users":       {own, stays, comes, stays},
		"public user key": {own, stays, comes, {PublicKey: "SUAxxx"}},
	} {
		if err := s.SetUsers(users); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("want an error about %q, got %v", want, err)
		}
	}
	if err := coming.Publish("b", []byte("still")); err != nil {
		t.Fatal(err)
	}
	if m, err := heard.NextMsg(10 * time.Second); err != nil || string(m.Data) != "still" {
		t.Errorf("after refused lists: %v, %v", m, err)
	}
}

// TestManyUsers changes a list of a thousand users, and has each of a few of them
// connected meanwhile.
func TestManyUsers(t *testing.T) {
	key := func(n int) nkeys.KeyPair {
		seed := make([]byte, 32)
		binary.BigEndian.PutUint64(seed, uint64(n)+1)
		pair, err := nkeys.FromRawSeed(nkeys.PrefixByteUser, seed)
		if err != nil {
			t.Fatal(err)
		}
		return pair
	}
	public := func(n int) string {
		k, err := key(n).PublicKey()
		if err != nil {
			t.Fatal(err)
		}
		return k
	}
	const many = 1000
	var users []User
	for n := range many {
		users = append(users, User{PublicKey: public(n), Publish: []string{fmt.Sprintf("p.%d", n)}, Subscribe: []string{fmt.Sprintf("s.%d.>", n)}})
	}
	s := start(t, config(t, users[0]))
	begin := time.Now()
	if err := s.SetUsers(users); err != nil {
		t.Fatal(err)
	}
	t.Logf("%d users added in %v", many-1, time.Since(begin))
	var conns []*nats.Conn
	for n := 0; n < many; n += 100 {
		c, err := nats.Connect("nats://"+s.Addr().String(), nats.Nkey(public(n), key(n).Sign), nats.NoReconnect())
		if err != nil {
			t.Fatalf("user %d: %v", n, err)
		}
		t.Cleanup(c.Close)
		conns = append(conns, c)
	}
	begin = time.Now()
	if err := s.SetUsers(users[:many-50]); err != nil {
		t.Fatal(err)
	}
	t.Logf("50 users removed in %v", time.Since(begin))
	for i, c := range conns {
		if err := c.Flush(); err != nil {
			t.Errorf("user %d: %v", 100*i, err)
		}
	}
	if c, err := nats.Connect("nats://"+s.Addr().String(), nats.Nkey(public(many-1), key(many-1).Sign)); err == nil {
		c.Close()
		t.Error("a removed user connects")
	}
}

// TestSetUsersWithTLS checks that a change of users leaves the certificate alone.
func TestSetUsersWithTLS(t *testing.T) {
	certFile, keyFile, pool := certificate(t)
	u, seed := user(t, []string{"x"}, []string{"x"})
	later, laterSeed := user(t, []string{"x"}, []string{"x"})
	cfg := config(t, u)
	cfg.CertFile, cfg.KeyFile = certFile, keyFile
	var log bytes.Buffer
	cfg.Logger = slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelWarn}))
	s := start(t, cfg)
	first, _ := dial(t, s, seed, secured(pool))
	if err := s.SetUsers([]User{u, later}); err != nil {
		t.Fatal(err)
	}
	second, _ := dial(t, s, laterSeed, secured(pool))
	for _, c := range []*nats.Conn{first, second} {
		if err := c.Flush(); err != nil || !c.TLSRequired() {
			t.Errorf("%v, TLS %v", err, c.TLSRequired())
		}
	}
	if log.Len() > 0 {
		t.Errorf("the change was logged:\n%s", log.String())
	}
}

// TestAddresses checks that the server knows from where the clients of a key are
// connected.
func TestAddresses(t *testing.T) {
	one, oneSeed := user(t, []string{"a"}, nil)
	two, twoSeed := user(t, []string{"b"}, nil)
	s := start(t, config(t, one, two))
	want := map[string]bool{}
	for range 2 {
		conn, _ := dial(t, s, oneSeed)
		want[conn.LocalAddr()] = true
	}
	dial(t, s, twoSeed)
	got := s.Addresses(one.PublicKey)
	if len(got) != 2 || !want[got[0]] || !want[got[1]] || got[0] == got[1] {
		t.Errorf("%v, want %v", got, want)
	}
}
