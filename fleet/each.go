// Package fleet does one thing to many machines: in parallel, with one result
// each, and no faster than the host can take it. It knows nothing of machines.
package fleet

import (
	"context"
	"sync"
)

// A Result is what became of one item.
type Result[T any] struct {
	Item T
	Err  error
}

// Each calls do for every item, at most limit of them at once, and returns the
// results in the order of the items when all have ended. A failure stops nobody
// else; when ctx ends, those that have not begun fail with its cause.
func Each[T any](ctx context.Context, items []T, limit int, do func(context.Context, T) error) []Result[T] {
	results := make([]Result[T], len(items))
	places := make(chan struct{}, max(limit, 1))
	var all sync.WaitGroup
	for i, item := range items {
		results[i].Item = item
		select {
		case places <- struct{}{}:
		case <-ctx.Done():
			results[i].Err = context.Cause(ctx)
			continue
		}
		all.Go(func() {
			defer func() { <-places }()
			results[i].Err = do(ctx, item)
		})
	}
	all.Wait()
	return results
}
