package negotiate

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"time"

	"golang.org/x/net/idna"

	"github.com/postern-im/postern/decision"
	"github.com/postern-im/postern/xmpp/stream"
)

// backendLimits are for a server's features and its words during negotiation.
func backendLimits() stream.Limits {
	return stream.Limits{Bytes: 64 << 10, Elements: 500}
}

var errBackendClosed = errors.New("backend closed the stream")

// A backendEnded is a stream error from the backend.
type backendEnded struct{ condition string }

func (e *backendEnded) Error() string { return "backend ended the stream: " + e.condition }

// connect opens a stream to the first backend that can be reached, with TLS
// where that is asked for, and reads its features.
func (x *negotiation) connect(ctx context.Context) error {
	if len(x.admission.Backends) == 0 {
		return backendFailure(errors.New("the domain has no backend"))
	}
	var errs []error
	for _, b := range x.admission.Backends {
		err := x.try(ctx, b)
		if err == nil {
			return nil
		}
		errs = append(errs, fmt.Errorf("backend %s: %w", b.Address, err))
		banned, _ := errors.AsType[*backendEnded](err)
		if x.backend != nil {
			x.unhook()
			x.backend.close(nil)
			x.backend = nil
		}
		if b.Proxy && banned != nil && banned.condition == "policy-violation" {
			// It knows the client's address, and wants nothing to do with it.
			return fail("policy-violation", "the domain's server refuses your address", err)
		}
		if ctx.Err() != nil || !time.Now().Before(x.until) {
			break
		}
	}
	return backendFailure(errors.Join(errs...))
}

func (x *negotiation) try(ctx context.Context, b decision.Backend) error {
	until := time.Now().Add(DialTimeout)
	if x.until.Before(until) {
		until = x.until
	}
	dialing, cancel := context.WithDeadline(ctx, until)
	defer cancel()
	conn, err := x.dial(dialing, "tcp", b.Address)
	if err != nil {
		return err
	}
	x.backend = newLeg(conn, stream.Config{Limits: backendLimits(), Lenient: true})
	x.unhook = x.backend.release(ctx)
	x.backend.setDeadline(until)
	if b.Proxy {
		if err := x.introduce(); err != nil {
			return err
		}
	}
	if err := x.secureBackend(dialing, b.Security); err != nil {
		return err
	}
	if err := x.openBackend(); err != nil {
		return err
	}
	if x.offered.mechanisms == nil {
		return errors.New("no usable SASL mechanism is offered")
	}
	x.backend.setDeadline(x.until)
	return nil
}

// secureBackend puts TLS on the backend's leg where the domain says so. A
// backend that does not do it is not used.
func (x *negotiation) secureBackend(ctx context.Context, s decision.Security) error {
	switch s {
	case decision.Plain:
		return nil
	case decision.StartTLS:
		if err := x.startBackendTLS(); err != nil {
			return err
		}
	case decision.TLS:
	default:
		return fmt.Errorf("unknown security %d", s)
	}
	name, err := idna.Lookup.ToASCII(x.domain)
	if err != nil {
		return fmt.Errorf("server name: %w", err)
	}
	config := x.backendTLS.Clone()
	config.ServerName = name
	if s == decision.TLS {
		config.NextProtos = []string{alpn}
	}
	return x.backend.secure(ctx, tls.Client(x.backend.conn, config))
}

func (x *negotiation) startBackendTLS() error {
	if err := x.openBackend(); err != nil {
		return err
	}
	if !x.offered.startTLS {
		return errors.New("no STARTTLS is offered")
	}
	if err := x.backend.write([]byte("<starttls xmlns='" + nsTLS + "'/>")); err != nil {
		return err
	}
	el, err := x.backendElement()
	if err != nil {
		return err
	}
	if !el.Is(nsTLS, "proceed") {
		return errors.New("STARTTLS was refused")
	}
	return nil
}

// openBackend opens a stream on the backend's leg and reads the features.
func (x *negotiation) openBackend() error {
	if err := x.backend.open(stream.OpenTag{To: x.domain, Version: "1.0"}); err != nil {
		return err
	}
	_, el, err := x.backend.next(true)
	if err != nil {
		return err
	}
	if _, err := stream.ParseOpen(el); err != nil {
		return err
	}
	if el, err = x.backendElement(); err != nil {
		return err
	}
	if !el.Is(stream.NSStreams, "features") {
		return errors.New("features expected")
	}
	x.offered = readFeatures(el)
	return nil
}

// backendElement reads the backend's next element. A stream error is an error.
func (x *negotiation) backendElement() (stream.Element, error) {
	kind, el, err := x.backend.next(false)
	switch {
	case err != nil:
		var timeout net.Error
		if errors.As(err, &timeout) && timeout.Timeout() {
			return el, fmt.Errorf("backend has not answered: %w", err)
		}
		return el, err
	case kind != stream.Stanza:
		return el, errBackendClosed
	case el.Is(stream.NSStreams, "error"):
		return el, &backendEnded{conditionOf(el, stream.NSErrors)}
	case el.Fault() != nil:
		return el, el.Fault()
	}
	return el, nil
}

// conditionOf returns the name of the first child in space but <text/>.
func conditionOf(el stream.Element, space string) string {
	for c := el.FirstChild(); c.Valid(); c = c.NextSibling() {
		if string(c.Space()) == space && string(c.Local()) != "text" {
			return string(c.Local())
		}
	}
	return ""
}
