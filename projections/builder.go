package projections

import (
	"errors"

	"github.com/postern-im/postern/events"
)

// A Builder folds many commits into one View, as a rebuild from the log needs.
// It runs the same code as View.Apply, so it has the same rules and the same
// errors. It is faster because it copies a node at most once. After that it changes
// its own copy in place, also for later commits. One goroutine owns a Builder.
type Builder struct {
	by   *owner
	view *View // nil after View, and after an error
	err  error // set when view is nil: returned by every further Apply
}

// errSpent is the error of Apply after View: a returned View must not change.
var errSpent = errors.New("the builder has already returned its view")

// NewBuilder returns a Builder that starts from the empty log.
func NewBuilder() *Builder { return BuilderFrom(New()) }

// BuilderFrom returns a Builder that starts from v. v itself does not change.
func BuilderFrom(v *View) *Builder {
	next := *v
	return &Builder{by: new(owner), view: &next}
}

// Apply folds the next commit, as View.Apply does. After an error the Builder
// is of no use: every further call returns the same error.
func (b *Builder) Apply(c *events.Commit) error {
	if b.view == nil {
		return b.err
	}
	if err := b.view.fold(b.by, c); err != nil {
		b.view, b.err = nil, err
		return err
	}
	return nil
}

// View returns the finished View; after that the Builder is of no use. View
// returns nil after an error, and when it is called a second time.
func (b *Builder) View() *View {
	v := b.view
	if v != nil {
		v.trim(b.by)
		b.view, b.by, b.err = nil, nil, errSpent
	}
	return v
}
