package client

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"

	"mellium.im/sasl"
)

// maxRounds bounds the challenges of one authentication: SCRAM has two.
const maxRounds = 5

// A SASLError is an authentication that the server refused.
type SASLError struct {
	Condition string  // e.g. not-authorized
	Element   Element // the whole failure element
}

func (e *SASLError) Error() string { return "authenticate: refused: " + e.Condition }

// Authenticate logs in with the configured mechanism, even if the server did
// not announce it, and opens the next stream.
func (c *Client) Authenticate(ctx context.Context) error {
	mechanism, ok := map[string]sasl.Mechanism{
		sasl.Plain.Name:       sasl.Plain,
		sasl.ScramSha1.Name:   sasl.ScramSha1,
		sasl.ScramSha256.Name: sasl.ScramSha256,
	}[c.config.Mechanism]
	if !ok {
		return fmt.Errorf("authenticate: unknown mechanism %q", c.config.Mechanism)
	}
	options := []sasl.Option{sasl.Credentials(func() (user, password, identity []byte) {
		return []byte(c.config.local()), []byte(c.config.Password), nil
	})}
	speaks := mechanism
	if c.config.CouldBind {
		// The library sends "y" if it could bind and the server offers no -PLUS
		// mechanism. The auth element names the mechanism without -PLUS.
		if mechanism.Name != sasl.ScramSha1.Name {
			return fmt.Errorf("authenticate: CouldBind is not supported with %s", mechanism.Name)
		}
		speaks, options = sasl.ScramSha1Plus, append(options, sasl.TLSState(c.TLS()))
	}
	negotiator := sasl.NewClient(speaks, options...)
	_, response, err := negotiator.Step(nil)
	if err != nil {
		return fmt.Errorf("authenticate: %w", err)
	}
	err = c.Send(ctx, "<auth xmlns='"+NSSASL+"' mechanism='"+mechanism.Name+"'>"+encode(response)+"</auth>")
	if err != nil {
		return err
	}
	for range maxRounds {
		answer, err := c.Next(ctx)
		if err != nil {
			return fmt.Errorf("authenticate: %w", err)
		}
		switch {
		case answer.Is(NSSASL, "failure"):
			return &SASLError{Condition: answer.Condition(), Element: answer}
		case answer.Is(NSSASL, "success"):
			if err := finish(negotiator, mechanism.Name, answer.Text); err != nil {
				return fmt.Errorf("authenticate: %w", err)
			}
			return c.Open(ctx)
		case !answer.Is(NSSASL, "challenge"):
			return fmt.Errorf("authenticate: got %s", answer.Raw)
		}
		challenge, err := base64.StdEncoding.DecodeString(answer.Text)
		if err != nil {
			return fmt.Errorf("authenticate: %w", err)
		}
		if _, response, err = negotiator.Step(challenge); err != nil {
			return fmt.Errorf("authenticate: %w", err)
		}
		if err := c.Send(ctx, "<response xmlns='"+NSSASL+"'>"+encode(response)+"</response>"); err != nil {
			return err
		}
	}
	return errors.New("authenticate: too many challenges")
}

// finish handles the data in success. SCRAM succeeds only if the server has
// proved that it knows the password too.
func finish(negotiator *sasl.Negotiator, mechanism, text string) error {
	if text != "" {
		data, err := base64.StdEncoding.DecodeString(text)
		if err != nil {
			return err
		}
		if _, _, err := negotiator.Step(data); err != nil {
			return err
		}
	}
	if mechanism != sasl.Plain.Name && negotiator.State()&sasl.StepMask != sasl.ValidServerResponse {
		return errors.New("success without the server's signature")
	}
	return nil
}

// encode returns base64, and "=" for an empty response (RFC 6120).
func encode(data []byte) string {
	if len(data) == 0 {
		return "="
	}
	return base64.StdEncoding.EncodeToString(data)
}
