package fault

import (
	"errors"
	"fmt"
)

// Kind is the class of a fault; each has exactly one Connect code.
type Kind uint8

// The kinds, with the code that internal/rpc gives each.
const (
	KindInternal     Kind = iota // internal: a bug or a broken machine
	KindInvalid                  // invalid_argument: a field is wrong
	KindNotFound                 // not_found
	KindExists                   // already_exists
	KindPrecondition             // failed_precondition: right request, wrong state
	KindAborted                  // aborted: the run is being aborted, or a version raced
	KindExhausted                // resource_exhausted: a limit of ours, try later
	KindUnavailable              // unavailable: try again
	KindDenied                   // permission_denied
	KindUnsupported              // unimplemented: not served
	KindTooLarge                 // resource_exhausted: this request can never pass
	KindDeadline                 // deadline_exceeded
)

// Fault is an error for a user. Message is public; Cause is for the log.
type Fault struct {
	Kind    Kind
	Field   string // the request's field, when one is to blame
	Message string
	Cause   error
}

func (f *Fault) Error() string {
	if f.Field != "" {
		return f.Field + ": " + f.Message
	}
	return f.Message
}

func (f *Fault) Unwrap() error { return f.Cause }

// Invalid blames a field of the request.
func Invalid(field, format string, args ...any) *Fault {
	return &Fault{Kind: KindInvalid, Field: field, Message: fmt.Sprintf(format, args...)}
}

// New is a fault of the given kind.
func New(kind Kind, format string, args ...any) *Fault {
	return &Fault{Kind: kind, Message: fmt.Sprintf(format, args...)}
}

// NotFound says that a thing with this name does not exist; what is the kind of thing ("run", "task").
func NotFound(what, name string) *Fault {
	return &Fault{Kind: KindNotFound, Message: fmt.Sprintf("%s %q does not exist", what, name)}
}

// Wrap gives a cause a public message. A cause that is a Fault already keeps its kind and words.
func Wrap(cause error, kind Kind, format string, args ...any) error {
	var f *Fault
	if errors.As(cause, &f) {
		return cause
	}
	return &Fault{Kind: kind, Message: fmt.Sprintf(format, args...), Cause: cause}
}

// KindOf is the kind of the first fault in err's chain, KindInternal when there is none.
func KindOf(err error) Kind {
	var f *Fault
	if errors.As(err, &f) {
		return f.Kind
	}
	return KindInternal
}

// Is reports whether err holds a fault of this kind.
func Is(err error, kind Kind) bool { return err != nil && KindOf(err) == kind }
