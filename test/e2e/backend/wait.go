package backend

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"strconv"
	"time"
)

// pollInterval is the pause between two looks at a condition that nobody can
// notify of: another process's state.
const pollInterval = 20 * time.Millisecond

// probeTimeout bounds one attempt to get features from a server.
const probeTimeout = 5 * time.Second

// Ports are taken below the kernel's range for outgoing connections (from 32768
// on), so that none is handed to somebody else between two starts.
const (
	lowestPort  = 20000
	highestPort = 32000
)

// errEnded means that the server's process ended while it was waited for.
var errEnded = errors.New("the server's process has ended")

// poll tries until the attempt succeeds, ended is closed, or ctx ends.
func poll(ctx context.Context, ended <-chan struct{}, attempt func(context.Context) error) error {
	tick := time.NewTicker(pollInterval)
	defer tick.Stop()
	for {
		err := attempt(ctx)
		if err == nil {
			return nil
		}
		select {
		case <-ended:
			return errEnded
		case <-ctx.Done():
			return fmt.Errorf("%w; last attempt: %w", ctx.Err(), err)
		case <-tick.C:
		}
	}
}

// probe opens a stream to a domain and waits for its features, over TLS when a
// CA is named.
func probe(ctx context.Context, addr, domain, caFile string) error {
	ctx, cancel := context.WithTimeout(ctx, probeTimeout)
	defer cancel()
	conn, err := dial(ctx, addr, domain, caFile)
	if err != nil {
		return err
	}
	defer conn.Close()
	if deadline, ok := ctx.Deadline(); ok {
		if err := conn.SetDeadline(deadline); err != nil {
			return err
		}
	}
	_, err = fmt.Fprintf(conn, "<stream:stream xmlns='jabber:client' version='1.0' to='%s'"+
		" xmlns:stream='http://etherx.jabber.org/streams'>", domain)
	if err != nil {
		return err
	}
	var answer []byte
	buffer := make([]byte, 4096)
	for !bytes.Contains(answer, []byte("</stream:features>")) {
		n, err := conn.Read(buffer)
		answer = append(answer, buffer[:n]...)
		if err != nil {
			return fmt.Errorf("wait for features of %s at %s: %w", domain, addr, err)
		}
	}
	_, err = conn.Write([]byte("</stream:stream>"))
	return err
}

func dial(ctx context.Context, addr, domain, caFile string) (net.Conn, error) {
	if caFile == "" {
		return new(net.Dialer).DialContext(ctx, "tcp", addr)
	}
	pem, err := os.ReadFile(caFile)
	if err != nil {
		return nil, err
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(pem)
	dialer := tls.Dialer{Config: &tls.Config{RootCAs: roots, ServerName: domain}}
	return dialer.DialContext(ctx, "tcp", addr)
}

// dialOnly succeeds when something listens.
func dialOnly(ctx context.Context, addr string) error {
	conn, err := dial(ctx, addr, "", "")
	if err != nil {
		return err
	}
	return conn.Close()
}

func address(port int) string { return net.JoinHostPort(host, strconv.Itoa(port)) }

// freePorts finds ports that nobody listens on now.
func freePorts() (ports, error) {
	var found ports
	var held []net.Listener // until all are found, lest one be found twice
	defer func() {
		for _, l := range held {
			l.Close()
		}
	}()
	for _, port := range []*int{&found.plain, &found.startTLS, &found.directTLS, &found.http} {
		var err error
		for range 100 {
			*port = lowestPort + rand.IntN(highestPort-lowestPort)
			var l net.Listener
			if l, err = net.Listen("tcp", address(*port)); err == nil {
				held = append(held, l)
				break
			}
		}
		if err != nil {
			return ports{}, fmt.Errorf("find a free port: %w", err)
		}
	}
	return found, nil
}
