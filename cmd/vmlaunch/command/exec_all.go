package command

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"

	"github.com/spf13/cobra"

	"github.com/vmlaunch/vmlaunch/configs"
	"github.com/vmlaunch/vmlaunch/launcher"
)

// runAll runs the words in every machine that is chosen, several at once. What
// they print comes line by line, each line with its machine's name; there is no
// standard input. A program that ends with another exit code than 0 is a failure.
func (o *execOptions) runAll(cmd *cobra.Command, a *app, words []string) error {
	ctx := cmd.Context()
	l, err := a.launcher(ctx)
	if err != nil {
		return err
	}
	names, err := o.choice.names(ctx, l, nil)
	if err != nil {
		return err
	}
	width := longest(names)
	var mu sync.Mutex
	a.progress.Done()
	return forEach(ctx, names, func(ctx context.Context, name string) error {
		out := &lines{mu: &mu, w: a.host.Out, prefix: prefixed(name, width)}
		errs := &lines{mu: &mu, w: a.host.Err, prefix: prefixed(name, width)}
		exit, err := o.runOne(ctx, l, name, words, out, errs)
		err = errors.Join(err, out.Close(), errs.Close())
		if err == nil && exit != 0 {
			err = fmt.Errorf("machine %q: %s: exit status %d", name, words[0], exit)
		}
		return err
	})
}

// runOne runs the words in one machine.
func (o *execOptions) runOne(ctx context.Context, l *launcher.Launcher, name string, words []string, out, errs io.Writer) (exit int, err error) {
	v, err := l.Inspect(ctx, name)
	if err != nil {
		return 0, err
	}
	if v.Spec.Guest() == configs.GuestProbe {
		return askProbe(ctx, l, name, strings.Join(words, " "), out)
	}
	client, err := l.Client(ctx, name)
	if err != nil {
		return 0, err
	}
	defer client.Close()
	c := o.command(words)
	c.Stdout, c.Stderr = out, errs
	return client.Run(ctx, c)
}

// lines writes whole lines, each behind a prefix; several of them may share one
// writer under one lock. Close writes what is left.
type lines struct {
	mu     *sync.Mutex
	w      io.Writer
	prefix string
	begun  []byte
}

// maxBegun bounds a line that does not end: longer ones are written in pieces.
const maxBegun = 64 << 10

func (l *lines) Write(text []byte) (int, error) {
	l.begun = append(l.begun, text...)
	for {
		i := strings.IndexByte(string(l.begun), '\n')
		if i < 0 && len(l.begun) < maxBegun {
			return len(text), nil
		}
		if i < 0 {
			i = len(l.begun) - 1
		}
		if err := l.put(l.begun[:i+1]); err != nil {
			return 0, err
		}
		l.begun = l.begun[i+1:]
	}
}

// Close writes a last line that did not end. It fails as the writer does.
func (l *lines) Close() error {
	if len(l.begun) == 0 {
		return nil
	}
	err := l.put(l.begun)
	l.begun = nil
	return err
}

func (l *lines) put(line []byte) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	_, err := fmt.Fprintf(l.w, "%s%s\n", l.prefix, strings.TrimRight(string(line), "\r\n"))
	return err
}
