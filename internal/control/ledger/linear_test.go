package ledger_test

import (
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/anishathalye/porcupine"

	"biplane.dev/biplane/internal/control/ledger"
	"biplane.dev/biplane/internal/link"
	"biplane.dev/biplane/internal/store"
)

// What is asked of the register of one run name, and what it answers.
type (
	reportOf struct {
		plane string
		epoch int64
	}
	moveOf struct {
		from, to string
		now      int64
	}
	readOf  struct{}
	holding struct {
		plane string
		epoch int64
	}
)

// leaseModel is the register as it ought to be, in words of its own: the newest lease is the only one, and time gives out epochs.
var leaseModel = porcupine.Model{
	Init: func() any { return holding{} },
	Step: func(state, input, output any) (bool, any) {
		now := state.(holding)
		switch in := input.(type) {
		case reportOf:
			fresh := in.epoch > now.epoch || in.epoch == now.epoch && in.plane == now.plane
			if fresh {
				now = holding(in)
			}
			return output.(bool) == fresh, now
		case moveOf:
			epoch := int64(0)
			if now.plane == in.from && in.from != in.to {
				epoch = max(in.now, now.epoch+1)
				now = holding{in.to, epoch}
			}
			return output.(int64) == epoch, now
		default:
			return output.(holding) == now, now
		}
	},
	DescribeOperation: func(input, output any) string { return fmt.Sprintf("%+v -> %+v", input, output) },
}

// TestTheLeaseIsLinearizable lets planes report, the control plane move the run about, and somebody look, all at once, on a real database.
// There must be an order of all these, each between its call and its return, in which the model gives the same answers.
func TestTheLeaseIsLinearizable(t *testing.T) {
	t.Parallel()
	const each = 60
	db := open(t)
	planes := []string{"a", "b", "c"}
	var clock atomic.Int64
	began := time.Now()
	var mu sync.Mutex
	var history []porcupine.Operation
	recorded := func(client int, input any, do func() any) {
		call := time.Since(began).Nanoseconds()
		output := do()
		back := time.Since(began).Nanoseconds()
		mu.Lock()
		defer mu.Unlock()
		history = append(history, porcupine.Operation{ClientId: client, Input: input, Call: call, Output: output, Return: back})
	}
	leases := map[string]*atomic.Int64{} // what each plane takes for its own
	for _, plane := range planes {
		leases[plane] = &atomic.Int64{}
	}
	leases["a"].Store(1)
	write := func(fn func(store.WriteTx) error) {
		if err := db.Write(t.Context(), fn); err != nil {
			t.Error(err)
		}
	}
	var clients sync.WaitGroup
	for i, plane := range planes {
		clients.Go(func() {
			for range each {
				epoch := leases[plane].Load()
				if epoch == 0 {
					epoch = 1 // of a lease that it never had: only a takes part in that
					if plane != "a" {
						continue
					}
				}
				recorded(i, reportOf{plane, epoch}, func() any {
					ok := false
					write(func(tx store.WriteTx) error {
						b := ledger.NewBatch(tx, link.Plane{Org: "local", Name: plane}, 0)
						r := run("p", "r", running, 7)
						r.Epoch = epoch
						seq := tx.NextSeq()
						if err := b.Run(seq, r); err != nil {
							return err
						}
						var got int64
						err := tx.QueryRow(`SELECT COUNT(*) FROM runs WHERE plane = ? AND epoch = ? AND seq = ?`, plane, epoch, seq).Scan(&got)
						ok = got == 1
						return err
					})
					return ok
				})
			}
		})
	}
	for i := range 2 {
		clients.Go(func() {
			for n := range each {
				in := moveOf{planes[(n+i)%3], planes[(n+i+1+n%2)%3], clock.Add(1) * int64(n%2)} // at times the clock is far behind
				recorded(3+i, in, func() any {
					var epoch int64
					write(func(tx store.WriteTx) (err error) {
						epoch, err = ledger.NewBatch(tx, link.Plane{Org: "local", Name: in.from}, 0).Move(runID("p", "r"), in.to, in.now)
						return err
					})
					if epoch > 0 {
						leases[in.to].Store(epoch)
					}
					return epoch
				})
			}
		})
	}
	clients.Go(func() {
		for range each {
			recorded(5, readOf{}, func() any {
				var h holding
				err := db.Read(t.Context(), func(tx store.Tx) error {
					rows, err := tx.Query(`SELECT plane, epoch FROM runs WHERE name = 'r'`)
					if err != nil {
						return err
					}
					defer rows.Close()
					for rows.Next() {
						if h.epoch != 0 {
							t.Error("two planes hold the run")
						}
						if err := rows.Scan(&h.plane, &h.epoch); err != nil {
							return err
						}
					}
					return rows.Err()
				})
				if err != nil {
					t.Error(err)
				}
				return h
			})
		}
	})
	clients.Wait()
	moved, refused := 0, 0
	for _, op := range history {
		switch output := op.Output.(type) {
		case int64:
			if output > 0 {
				moved++
			}
		case bool:
			if !output {
				refused++
			}
		}
	}
	if moved < 5 || refused < 5 {
		t.Errorf("%d moves and %d refusals: nothing was at stake", moved, refused)
	}
	if result := porcupine.CheckOperationsTimeout(leaseModel, history, 30*time.Second); result != porcupine.Ok {
		t.Errorf("the history of %d operations is %s", len(history), result)
	}
}
