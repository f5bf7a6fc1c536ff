package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
)

// A consent is the --yes flag of every command that loses something for good:
// each remove, apply, and restore. A command that another command can undo, such
// as suspend or set-role, does not ask, so that it is quick in an emergency.
type consent struct {
	Yes bool `short:"y" help:"Do it without asking. Needed if there is no terminal to ask on."`
}

// maxAnswer bounds the answer that the user types, in bytes.
const maxAnswer = 1024

// given asks the user to confirm an act, described by what, such as "this
// removes tenant acme". The user must type the name or, if name is empty, yes.
// given returns nil if the user confirms or --yes was given. If there is no
// terminal to ask on, it returns a usage error. It waits for the answer until
// ctx ends; a user may take any time.
func (c *consent) given(ctx context.Context, a *app, what, name string) error {
	if c.Yes {
		return nil
	}
	switch {
	case a.json:
		return usagef("%s. --json asks no questions, so nothing was done: give --yes to confirm", what)
	case !a.ask:
		return usagef("%s. There is no terminal to ask on, so nothing was done: give --yes to confirm", what)
	}
	want, question := name, fmt.Sprintf("Type %s to confirm: ", clean(name))
	if name == "" {
		want, question = "yes", "Type yes to confirm: "
	}
	fmt.Fprintf(a.err, "%s%s.\n%s", strings.ToUpper(what[:1]), clean(what[1:]), question)
	answer, err := readAnswer(ctx, a.in)
	switch {
	case err != nil:
		fmt.Fprintln(a.err)
		return fmt.Errorf("nothing was done: %w", err)
	case answer != want && (name != "" || answer != "y"):
		return errors.New("nothing was done")
	}
	return nil
}

// readAnswer reads one line, or returns when ctx ends. In that case its goroutine
// stays blocked in the read until the process ends, because nothing can wake it.
func readAnswer(ctx context.Context, in io.Reader) (string, error) {
	type answer struct {
		text string
		err  error
	}
	read := make(chan answer, 1)
	go func() {
		text, err := bufio.NewReader(io.LimitReader(in, maxAnswer)).ReadString('\n')
		if errors.Is(err, io.EOF) {
			err = errors.New("no answer")
		}
		read <- answer{strings.TrimSpace(text), err}
	}()
	select {
	case a := <-read:
		return a.text, a.err
	case <-ctx.Done():
		return "", ctx.Err()
	}
}
