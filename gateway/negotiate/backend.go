package negotiate

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"time"

	"golang.org/x/net/idna"

	"github.com/postern-im/postern/decision"
	"github.com/postern-im/postern/xmpp/stream"
)

// backendLimits are the limits for a server's elements during negotiation.
func backendLimits() stream.Limits {
	return stream.Limits{Bytes: 64 << 10, Elements: 500}
}

var errBackendClosed = errors.New("backend closed the stream")

// A backendEnded is a stream error from the backend.
type backendEnded struct{ condition string }

func (e *backendEnded) Error() string { return "backend ended the stream: " + e.condition }

// maxTries bounds how often one negotiation tries the same backend address.
const maxTries = 3

// connect opens a stream to the first backend that can be reached, with TLS if
// the backend needs it, and reads its features.
func (x *negotiation) connect(ctx context.Context) error {
	if len(x.admission.Backends) == 0 {
		return backendFailure(errors.New("the domain has no backend"))
	}
	var errs []error
	for _, b := range x.admission.Backends {
		err := x.tryAll(ctx, b)
		if err == nil {
			return nil
		}
		errs = append(errs, fmt.Errorf("backend %s: %w", b.Address, err))
		banned, _ := errors.AsType[*backendEnded](err)
		if b.Proxy && banned != nil && banned.condition == "policy-violation" {
			// The server knows the client's address and refuses it.
			return fail("policy-violation", "the domain's server refuses your address", err)
		}
		if ctx.Err() != nil || !time.Now().Before(x.last) {
			break
		}
	}
	return backendFailure(errors.Join(errs...))
}

// tryAll tries a backend until it is clear whether it can be reached. A
// server's kernel queues only a few connections and may lose further ones,
// which the server may not notice. After an attempt without an answer, tryAll
// therefore tries again from the end of the lane's queue. If other connections
// do not reach the address either, the lane reports the address as down, and
// tryAll gives up.
func (x *negotiation) tryAll(ctx context.Context, b decision.Backend) (err error) {
	for range maxTries {
		o, failure := x.inTurn(ctx, b)
		if failure == nil {
			return nil
		}
		if x.backend != nil {
			x.unhook()
			x.backend.close(nil)
			x.backend = nil
		}
		if err == nil || !errors.Is(failure, errDown) {
			err = failure
		}
		if o != unreachable {
			break
		}
	}
	return err
}

// inTurn waits for a turn in the lane of a backend and then tries the backend.
func (x *negotiation) inTurn(ctx context.Context, b decision.Backend) (o outcome, err error) {
	leave, err := x.lanes.enter(ctx, b.Address, time.Until(x.within(TurnTimeout)))
	if err != nil {
		return unclear, err
	}
	defer func() { leave(o, err) }()
	return x.try(ctx, b)
}

// try connects to a backend and reads its features. The outcome reports whether
// the address is reachable, independent of the domain and of the kind of
// security.
func (x *negotiation) try(ctx context.Context, b decision.Backend) (outcome, error) {
	dialing, cancel := context.WithDeadline(ctx, x.within(ConnectTimeout))
	defer cancel()
	conn, err := x.dial(dialing, "tcp", b.Address)
	if err != nil {
		if ctx.Err() != nil {
			return unclear, err
		}
		return unreachable, err
	}
	x.backend = newLeg(conn, stream.Config{Limits: backendLimits(), Lenient: true})
	x.unhook = x.backend.release(ctx)
	if err := x.greet(ctx, b); err != nil {
		if ctx.Err() == nil && x.backend.silent(err) {
			return unreachable, err
		}
		return unclear, err
	}
	return answered, nil
}

// greet secures a new connection to a backend and reads the backend's features.
func (x *negotiation) greet(ctx context.Context, b decision.Backend) (err error) {
	if b.Proxy {
		x.backend.setDeadline(x.within(ConnectTimeout))
		if err := x.introduce(); err != nil {
			return err
		}
		defer func() {
			if err != nil { // a port that expects no header fails in unclear ways
				err = fmt.Errorf("after a PROXY header (proxy = true), which that port must expect: %w", err)
			}
		}()
	}
	if err := x.secureBackend(ctx, b.Security); err != nil {
		return err
	}
	if err := x.openBackend(); err != nil {
		return err
	}
	if x.offered.mechanisms == nil {
		return errors.New("the backend offers no usable SASL mechanism")
	}
	return nil
}

// secureBackend starts TLS with the backend if the backend's settings require
// it. If that fails, the backend is not used.
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
	x.backend.setDeadline(x.within(BackendTLSTimeout))
	return x.backend.secure(ctx, tls.Client(x.backend.conn, config))
}

func (x *negotiation) startBackendTLS() error {
	if err := x.openBackend(); err != nil {
		return err
	}
	if !x.offered.startTLS {
		return errors.New("the backend does not offer STARTTLS")
	}
	x.backend.setDeadline(x.within(BackendTLSTimeout))
	if err := x.backend.write([]byte("<starttls xmlns='" + nsTLS + "'/>")); err != nil {
		return err
	}
	el, err := x.backendElement()
	if err != nil {
		return err
	}
	if !el.Is(nsTLS, "proceed") {
		return errors.New("the backend refused STARTTLS")
	}
	return nil
}

// openBackend opens a stream to the backend and reads the features.
func (x *negotiation) openBackend() error {
	x.backend.setDeadline(x.within(FeaturesTimeout))
	if err := x.backend.open(stream.OpenTag{To: x.domain, Version: "1.0", Lang: x.clientLang}); err != nil {
		return err
	}
	_, el, err := x.backend.next(true)
	if err != nil {
		return err
	}
	tag, err := stream.ParseOpen(el)
	if err != nil {
		return err
	}
	x.backendLang = language(tag.Lang)
	if el, err = x.backendElement(); err != nil {
		return err
	}
	if !el.Is(stream.NSStreams, "features") {
		return errors.New("features expected")
	}
	x.offered = readFeatures(el)
	return nil
}

// ask sends an element to the backend and reads the answer.
func (x *negotiation) ask(element []byte) (el stream.Element, err error) {
	err = x.unclocked(func() error {
		x.backend.setDeadline(x.within(AnswerTimeout))
		if err := x.backend.write(element); err != nil {
			return err
		}
		el, err = x.backendElement()
		return err
	})
	return el, err
}

// backendElement reads the backend's next element. It returns an error if that
// element is a stream error.
func (x *negotiation) backendElement() (stream.Element, error) {
	kind, el, err := x.backend.next(false)
	switch {
	case err != nil:
		if isTimeout(err) {
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

// conditionOf returns the name of the first child in space other than <text/>.
func conditionOf(el stream.Element, space string) string {
	for c := el.FirstChild(); c.Valid(); c = c.NextSibling() {
		if string(c.Space()) == space && string(c.Local()) != "text" {
			return string(c.Local())
		}
	}
	return ""
}
