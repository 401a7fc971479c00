package configs

import (
	"fmt"
	"time"
)

// A Duration is a time.Duration that files write as text, such as "90s".
type Duration time.Duration

// String returns d as time.Duration prints it.
func (d Duration) String() string { return time.Duration(d).String() }

// MarshalText writes d as [Duration.String] does. It never fails.
func (d Duration) MarshalText() ([]byte, error) { return []byte(d.String()), nil }

// UnmarshalText reads what time.ParseDuration reads and fails on the rest.
func (d *Duration) UnmarshalText(text []byte) error {
	v, err := time.ParseDuration(string(text))
	if err != nil {
		return fmt.Errorf("duration %q: want a number with a unit, such as 90s or 5m", text)
	}
	*d = Duration(v)
	return nil
}
