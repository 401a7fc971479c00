package command

import (
	"bytes"
	"context"
	"errors"
	"io"
	"testing"
	"testing/synctest"
)

// pieces is a log that grows: each read gives the next piece, none is an end of
// file that is not the last.
type pieces []string

func (p *pieces) Read(b []byte) (int, error) {
	if len(*p) == 0 || (*p)[0] == "" {
		*p = (*p)[min(1, len(*p)):]
		return 0, io.EOF
	}
	n := copy(b, (*p)[0])
	*p = (*p)[1:]
	return n, nil
}

func TestFollowGoesOnUntilTheWriterEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log := &pieces{"boot\n", "", "", "login\n", ""}
		asked := 0
		var out bytes.Buffer
		err := follow(t.Context(), log, &out, func() (bool, error) {
			asked++
			if asked == 2 {
				*log = pieces{"power down\n"}
			}
			return asked == 2, nil
		})
		if err != nil {
			t.Fatal(err)
		}
		if want := "boot\nlogin\npower down\n"; out.String() != want {
			t.Errorf("got %q, want %q", out.String(), want)
		}
		if asked != 2 {
			t.Errorf("asked %d times whether the machine has ended, want 2", asked)
		}
	})
}

// TestFollowDoesNotAskWhileThereIsNews asks about the machine only when the log
// was quiet for a while: each question costs a look at QEMU.
func TestFollowDoesNotAskWhileThereIsNews(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log pieces
		for range 3 {
			log = append(log, "news\n")
			for range askEvery - 2 {
				log = append(log, "")
			}
		}
		err := follow(t.Context(), &log, io.Discard, func() (bool, error) {
			if len(log) > 0 {
				t.Errorf("asked with %d pieces to come", len(log))
			}
			return true, nil
		})
		if err != nil {
			t.Fatal(err)
		}
	})
}

func TestFollowEndsWithItsContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), 10*lookEvery)
		defer cancel()
		err := follow(ctx, &pieces{}, io.Discard, func() (bool, error) { return false, nil })
		if !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("got %v, want the context's error", err)
		}
	})
}

func TestFollowFailsWithItsMachine(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		gone := errors.New("gone")
		err := follow(t.Context(), &pieces{}, io.Discard, func() (bool, error) { return false, gone })
		if !errors.Is(err, gone) {
			t.Errorf("got %v, want %v", err, gone)
		}
	})
}
