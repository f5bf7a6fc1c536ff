package api

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
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
	if len(q) > 0 {
		at += "?" + q.Encode()
	}
	return ask[T](ctx, c, http.MethodGet, at, nil)
}

func post[T any](ctx context.Context, c *Client, at string, body []byte) (T, error) {
	return ask[T](ctx, c, http.MethodPost, at, body)
}

// ask sends a request and decodes the answer. It ignores unknown fields, because a
// newer node may send more.
func ask[T any](ctx context.Context, c *Client, method, at string, body []byte) (reply T, err error) {
	if c.within > 0 {
		within, cancel := context.WithTimeout(ctx, c.within)
		defer cancel()
		ctx = within
	}
	r, err := http.NewRequestWithContext(ctx, method, c.base+at, bytes.NewReader(body))
	if err != nil {
		return reply, fmt.Errorf("ask for %s: %w", at, err)
	}
	if body != nil {
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
		return reply, fmt.Errorf("ask the policy node: %w", err)
	}
	defer answer.Body.Close()
	text, err := io.ReadAll(io.LimitReader(answer.Body, maxReply+1))
	switch {
	case err != nil:
		return reply, fmt.Errorf("read the policy node's answer: %w", err)
	case len(text) > maxReply:
		return reply, &Error{Code: CodeBadResponse, Text: fmt.Sprintf("the policy node's answer is larger than %d bytes", maxReply)}
	case answer.StatusCode != http.StatusOK:
		return reply, failure(answer.StatusCode, text)
	}
	if err := json.Unmarshal(text, &reply); err != nil {
		return reply, &Error{Code: CodeBadResponse, Text: "the policy node's answer cannot be decoded: " + err.Error()}
	}
	return reply, nil
}

// failure returns the error in an answer that is not a success.
func failure(status int, body []byte) error {
	var e ErrorBody
	if err := json.Unmarshal(body, &e); err != nil || e.Error == nil || e.Error.Code == "" {
		return &Error{Code: CodeBadResponse, Text: fmt.Sprintf("the policy node answered %d %s", status, http.StatusText(status))}
	}
	return e.Error
}
