package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
)

// A consent is what every command takes that loses something no other command
// brings back: each remove, apply where it removes, restore. What its
// counterpart undoes (suspend, resume, a role set again) is done unasked, so
// that it is quick when it must be.
type consent struct {
	Yes bool `short:"y" help:"Do it without asking. Needed where no terminal is there to ask on."`
}

// maxAnswer bounds what is typed as an answer.
const maxAnswer = 1024

// given asks whether what is said is meant, such as "this removes tenant
// acme". With a name, that name must be typed; without one, yes. It is nil if
// it is, or if --yes was given; where nobody can be asked it is a usage error.
// ctx ends the waiting for an answer, which has no bound of its own.
func (c *consent) given(ctx context.Context, a *app, what, name string) error {
	if c.Yes {
		return nil
	}
	switch {
	case a.json:
		return usagef("%s. With --json nobody is asked, so nothing was done: give --yes if you mean it", what)
	case !a.ask:
		return usagef("%s. There is no terminal to ask on, so nothing was done: give --yes if you mean it", what)
	}
	want, question := name, fmt.Sprintf("Type %s to go on: ", clean(name))
	if name == "" {
		want, question = "yes", "Type yes to go on: "
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

// readAnswer reads one line, or ends with ctx; the reader is then left to the
// process's end, for nothing can wake it.
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
