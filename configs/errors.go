package configs

import (
	"fmt"
	"slices"
	"strings"
)

// A FieldError is one mistake in a blueprint.
type FieldError struct {
	Field   string // as the user writes it
	Value   string
	Problem string // what is wrong, or what is wanted
}

func (e *FieldError) Error() string {
	return fmt.Sprintf("%s %q: %s", e.Field, e.Value, e.Problem)
}

// Errors are all mistakes of one blueprint, in the order of its fields.
type Errors []*FieldError

func (e Errors) Error() string {
	lines := make([]string, len(e))
	for i, f := range e {
		lines[i] = f.Error()
	}
	return strings.Join(lines, "\n")
}

// Unwrap lets errors.As find a single [FieldError].
func (e Errors) Unwrap() []error {
	errs := make([]error, len(e))
	for i, f := range e {
		errs[i] = f
	}
	return errs
}

func (e *Errors) add(field, value, problem string) {
	*e = append(*e, &FieldError{Field: field, Value: value, Problem: problem})
}

func (e *Errors) check(field, value string, err error) {
	if err != nil {
		e.add(field, value, err.Error())
	}
}

func (e *Errors) oneOf(field, value string, allowed ...string) {
	if slices.Contains(allowed, value) {
		return
	}
	said := slices.DeleteFunc(slices.Clone(allowed), func(s string) bool { return s == "" })
	e.add(field, value, "want "+strings.Join(said, " or "))
}

func (e *Errors) unwanted(field, value, why string) {
	if value != "" {
		e.add(field, value, why)
	}
}

// orNil keeps a nil Errors from becoming an error that is not nil.
func (e Errors) orNil() error {
	if len(e) == 0 {
		return nil
	}
	return e
}

// A FileError is one mistake in a file. Line and Column count from 1.
type FileError struct {
	File         string
	Line, Column int
	Problem      string
}

func (e *FileError) Error() string {
	return fmt.Sprintf("%s:%d:%d: %s", e.File, e.Line, e.Column, e.Problem)
}

// FileErrors are all mistakes of one file, in its order.
type FileErrors []*FileError

func (e FileErrors) Error() string {
	lines := make([]string, len(e))
	for i, f := range e {
		lines[i] = f.Error()
	}
	return strings.Join(lines, "\n")
}
