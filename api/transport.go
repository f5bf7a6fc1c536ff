package api

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/httptrace"
	"net/url"
	"strconv"
	"strings"
)

// path escapes segments and joins them below /v1.
func path(segments ...string) string {
	var b strings.Builder
	b.WriteString("/v1")
	for _, s := range segments {
		b.WriteByte('/')
		b.WriteString(url.PathEscape(s))
	}
	return b.String()
}

func page(after string, limit int) url.Values {
	q := url.Values{}
	if after != "" {
		q.Set("after", after)
	}
	if limit > 0 {
		q.Set("limit", strconv.Itoa(limit))
	}
	return q
}

func get[T any](ctx context.Context, c *Client, at string, q url.Values) (T, error) {
	return ask[T](ctx, c, request{method: http.MethodGet, path: at, query: q, reads: true, repeatable: true})
}

// post sends a request that must not reach two nodes.
func post[T any](ctx context.Context, c *Client, at string, body []byte) (T, error) {
	return ask[T](ctx, c, request{method: http.MethodPost, path: at, body: body})
}

// A request is one request of a client, to whichever node answers it.
type request struct {
	method, path string
	query        url.Values
	body         []byte
	// reads: the answer depends on the state, and nothing is changed.
	reads bool
	// repeatable: the request may reach several nodes, because it changes nothing, or
	// because it is a command with an id.
	repeatable bool
}

// address returns the address of a request at a node.
func (q *request) address(c *Client, base string) string {
	query := url.Values{}
	maps.Copy(query, q.query)
	if p := max(c.atLeast, c.nodes.required()); q.reads && p > 0 {
		query.Set("at_least", strconv.FormatUint(p, 10))
	}
	if len(query) == 0 {
		return base + q.path
	}
	return base + q.path + "?" + query.Encode()
}

// ask sends a request to the nodes in turn, until one answers it.
func ask[T any](ctx context.Context, c *Client, q request) (reply T, err error) {
	if c.within > 0 {
		within, cancel := context.WithTimeout(ctx, c.within)
		defer cancel()
		ctx = within
	}
	var failed error
	for base := range c.nodes.inTurn() {
		answer, sent, err := askNode[T](ctx, c, &q, base)
		if err == nil {
			c.nodes.answered(base)
			return answer, nil
		}
		if len(c.nodes.bases) > 1 && !isAnswer(err) {
			err = fmt.Errorf("%s: %w", base, err)
		}
		failed = worse(failed, err, sent, q.reads)
		if ctx.Err() != nil || !tryNext(err, sent, q.repeatable) {
			break
		}
	}
	return reply, failed
}

// askNode sends a request to one node and decodes the answer. It ignores unknown
// fields, because a newer node may send more. sent reports whether the node may have
// received the request.
func askNode[T any](ctx context.Context, c *Client, q *request, base string) (reply T, sent bool, err error) {
	ctx = httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{GotConn: func(httptrace.GotConnInfo) { sent = true }})
	r, err := http.NewRequestWithContext(ctx, q.method, q.address(c, base), bytes.NewReader(q.body))
	if err != nil {
		return reply, sent, fmt.Errorf("ask for %s: %w", q.path, err)
	}
	if q.body != nil {
		r.Header.Set("Content-Type", "application/json")
	}
	if c.token != "" {
		r.Header.Set("Authorization", "Bearer "+c.token)
	}
	answer, err := c.http.Do(r)
	if err != nil {
		var at *url.Error // its text has the internal URL, which would not help the user
		if errors.As(err, &at) {
			err = at.Err
		}
		return reply, sent, fmt.Errorf("ask the policy node: %w", err)
	}
	defer answer.Body.Close()
	text, err := io.ReadAll(io.LimitReader(answer.Body, maxReply+1))
	switch {
	case err != nil:
		return reply, sent, fmt.Errorf("read the policy node's answer: %w", err)
	case len(text) > maxReply:
		return reply, sent, &Error{Code: CodeBadResponse, Text: fmt.Sprintf("the policy node's answer is larger than %d bytes", maxReply)}
	case answer.StatusCode != http.StatusOK:
		return reply, sent, failure(answer.StatusCode, text)
	}
	if err := json.Unmarshal(text, &reply); err != nil {
		return reply, sent, &Error{Code: CodeBadResponse, Text: "the policy node's answer cannot be decoded: " + err.Error()}
	}
	return reply, sent, nil
}

// failure returns the error in an answer that is not a success.
func failure(status int, body []byte) error {
	var e ErrorBody
	if err := json.Unmarshal(body, &e); err != nil || e.Error == nil || e.Error.Code == "" {
		return &Error{Code: CodeBadResponse, Text: fmt.Sprintf("the policy node answered %d %s", status, http.StatusText(status))}
	}
	return e.Error
}
