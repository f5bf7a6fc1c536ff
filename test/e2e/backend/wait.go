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

// pollInterval is the pause between two looks at the state of another process,
// which cannot notify us.
const pollInterval = 20 * time.Millisecond

// probeTimeout bounds one attempt to get features from a server.
const probeTimeout = 5 * time.Second

// Ports are chosen below the kernel's range for outgoing connections (from
// 32768 on), so that no connection takes a port between two starts.
const (
	lowestPort  = 20000
	highestPort = 32000
)

// errEnded means that the server's process ended while it was waited for.
var errEnded = errors.New("the server's process has ended")

// poll repeats an attempt until it succeeds, ended is closed, or ctx ends.
func poll(ctx context.Context, ended <-chan struct{}, attempt func(context.Context) error) error {
	tick := time.NewTicker(pollInterval)
	defer tick.Stop()
	var last error
	for {
		err := attempt(ctx)
		if err == nil {
			return nil
		}
		if ctx.Err() == nil || last == nil { // an attempt cut short by ctx tells less than the one before
			last = err
		}
		select {
		case <-ended:
			return errEnded
		case <-ctx.Done():
			return fmt.Errorf("%w; last attempt: %w", ctx.Err(), last)
		case <-tick.C:
		}
	}
}

// probe opens a stream to a domain and waits for its features. With a CA file
// it uses TLS.
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

// dialOnly succeeds if a program listens at the address.
func dialOnly(ctx context.Context, addr string) error {
	conn, err := dial(ctx, addr, "", "")
	if err != nil {
		return err
	}
	return conn.Close()
}

func address(host string, port int) string { return net.JoinHostPort(host, strconv.Itoa(port)) }

// freeHost picks a loopback address; on Linux all of 127.0.0.0/8 belongs to
// this machine. Tests of several packages start servers at the same time. If
// they shared one address, two would sometimes choose the same port between the
// check and the start.
func freeHost() string {
	return net.IPv4(127, byte(1+rand.IntN(254)), byte(rand.IntN(256)), byte(1+rand.IntN(254))).String()
}

// freePorts finds ports at which no program listens now.
func freePorts() (ports, error) {
	host := freeHost()
	found, err := freePortList(host, 5)
	if err != nil {
		return ports{}, err
	}
	return ports{host: host, plain: found[0], startTLS: found[1], directTLS: found[2], http: found[3], proxied: found[4]}, nil
}

// freePortList finds n ports of one address at which no program listens now.
func freePortList(host string, n int) (found []int, err error) {
	var held []net.Listener // until all are found, so that none is found twice
	defer func() {
		for _, l := range held {
			l.Close()
		}
	}()
	for range 100 * n {
		if len(found) == n {
			return found, nil
		}
		port := lowestPort + rand.IntN(highestPort-lowestPort)
		var l net.Listener
		if l, err = net.Listen("tcp", address(host, port)); err == nil {
			held, found = append(held, l), append(found, port)
		}
	}
	if len(found) == n {
		return found, nil
	}
	return nil, fmt.Errorf("find %d free ports: %w", n, err)
}
