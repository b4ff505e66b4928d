package account

import (
	"context"
	"errors"
	"net/netip"
	"runtime"
	"slices"
	"strings"
	"sync"
	"time"

	"flywheel.dev/flywheel/internal/db"
	"flywheel.dev/flywheel/internal/web"
)

// Attempts to sign in are limited in three ways. What has been tried is counted in the database, which all replicas
// share: by name and network together, by network over all names, and by name over all networks. A client from which
// the person has signed in before has a count of its own instead, so that nobody locks them out. And whoever comes
// through waits for one of few places where passwords are hashed: strangers at one, known clients at others.

// limit lets so many attempts through at once, and then one in every so long.
type limit struct {
	kind  string
	burst int64
	every time.Duration
}

var (
	ofPair       = limit{"pair", 5, 10 * time.Second}     // a name from a network
	ofClient     = limit{"client", 5, 10 * time.Second}   // a name from a browser that its person has used
	ofNetwork    = limit{"network", 30, 2 * time.Second}  // all names from a network
	ofName       = limit{"name", 20, 5 * time.Second}     // a name from all networks
	ofPassword   = limit{"password", 5, 10 * time.Second} // the present password, to change it
	ofLogNetwork = limit{"log", 10, time.Minute}          // entries of the audit log about a network
	ofLog        = limit{"log-all", 30, time.Second}      // and about all
	ofRefusal    = limit{"refusal", 10, time.Minute}      // entries about refusals of a person
	ofRefusals   = limit{"refusal-all", 30, time.Second}  // and of all
)

const (
	attemptsKept  = 100_000     // keys that are not worked off; of more, those that have least to work off are forgotten
	attemptsSwept = time.Minute // how often, by each replica
)

// charge is a limit for one key.
type charge struct {
	limit
	key string
}

func (l limit) of(parts ...string) charge {
	return charge{l, l.kind + ":" + hashSecret(strings.Join(parts, "\n"))[:32]}
}

// latest is until when a key may have something to work off, so that one more attempt comes through.
func (c charge) latest(now time.Time) int64 {
	return now.Add(time.Duration(c.burst-1) * c.every).UnixMicro()
}

// wait returns how long the charges have to wait, or 0, without counting anything.
func wait(tx *db.Tx, charges ...charge) (longest time.Duration, err error) {
	for _, c := range charges {
		var full int64
		err := tx.QueryRow("select full_at from attempt where key = $1", c.key).Scan(&full)
		if errors.Is(err, db.ErrNoRows) {
			continue
		}
		if err != nil {
			return 0, err
		}
		longest = max(longest, time.Duration(full-c.latest(tx.Now()))*time.Microsecond)
	}
	return longest, nil
}

// take counts an attempt for all charges. If one has to wait it returns how long, and the transaction must not be committed.
func take(tx *db.Tx, charges ...charge) (time.Duration, error) {
	slices.SortFunc(charges, func(a, b charge) int { return strings.Compare(a.key, b.key) }) // two never wait for each other
	for _, c := range charges {
		now := tx.Now().UnixMicro()
		n, err := tx.Exec(`insert into attempt (key, full_at) values ($1, $2)
			on conflict (key) do update set full_at = case when attempt.full_at > $3 then attempt.full_at + $4 else $2 end where attempt.full_at <= $5`,
			c.key, now+c.every.Microseconds(), now, c.every.Microseconds(), c.latest(tx.Now()))
		if err != nil {
			return 0, err
		}
		if n == 0 {
			longest, err := wait(tx, c)
			return max(longest, time.Millisecond), err
		}
	}
	return 0, nil
}

// giveBack takes an attempt out of the count that was no guess.
func giveBack(tx *db.Tx, charges ...charge) error {
	for _, c := range charges {
		if _, err := tx.Exec("update attempt set full_at = full_at - $2 where key = $1", c.key, c.every.Microseconds()); err != nil {
			return err
		}
	}
	return nil
}

func forget(tx *db.Tx, c charge) error {
	_, err := tx.Exec("delete from attempt where key = $1", c.key)
	return err
}

// sweep forgets the keys that have nothing to work off, which changes no answer, and of too many others the coolest.
func sweep(tx *db.Tx, most int64) error {
	if _, err := tx.Exec("delete from attempt where full_at <= $1", tx.Now().UnixMicro()); err != nil {
		return err
	}
	var n int64
	if err := tx.QueryRow("select count(*) from attempt").Scan(&n); err != nil || n <= most {
		return err
	}
	_, err := tx.Exec("delete from attempt where key in (select key from attempt order by full_at, key limit $1)", n-most)
	return err
}

// network is what one client can have many addresses of: the address itself, or the /64 of an IPv6 address.
func network(address string) string {
	ip, err := netip.ParseAddr(address)
	if err != nil {
		return address
	}
	if ip = ip.Unmap().WithZone(""); ip.Is6() {
		return netip.PrefixFrom(ip, 64).Masked().String()
	}
	return ip.String()
}

const (
	clientsKept  = 20 // of a person
	clientsKnown = 180 * 24 * time.Hour
)

// clientOf is the hash under which a browser, by the secret in its cookie, or a network is known to a person.
func clientOf(person, kind, what string) string {
	return hashSecret(strings.Join([]string{person, kind, what}, "\n"))
}

func known(tx *db.Tx, hash string) (is bool, err error) {
	err = tx.QueryRow("select exists (select 1 from known_client where hash = $1 and seen_at > $2)", hash, tx.Now().Add(-clientsKnown)).Scan(&is)
	return is, err
}

// remember lets a person sign in from their browser and network whatever others try, and forgets the clients that
// they have not used for longest.
func remember(tx *db.Tx, person string, hashes ...string) error {
	for _, hash := range hashes {
		_, err := tx.Exec("insert into known_client (hash, person, seen_at) values ($1, $2, $3) on conflict (hash) do update set seen_at = excluded.seen_at", hash, person, tx.Now())
		if err != nil {
			return err
		}
	}
	_, err := tx.Exec(`delete from known_client where person = $1 and (seen_at <= $2 or hash not in
		(select hash from known_client where person = $1 order by seen_at desc, hash limit $3))`, person, tx.Now().Add(-clientsKnown), int64(clientsKept))
	return err
}

// lane is where passwords are hashed: some at once, few waiting and not for long, and of each client only some.
type lane struct {
	work     chan struct{}
	waiting  int // at most, those that work included
	each     int // at most of one client
	patience time.Duration

	mu    sync.Mutex
	total int
	of    map[string]int
}

func newLanes() (strangers, known *lane) {
	return &lane{work: make(chan struct{}, 1), waiting: 32, each: 4, patience: 2 * time.Second, of: map[string]int{}},
		&lane{work: make(chan struct{}, max(1, runtime.GOMAXPROCS(0)-1)), waiting: 200, each: 8, patience: 20 * time.Second, of: map[string]int{}}
}

// acquire waits for a place, or refuses to wait.
func (l *lane) acquire(ctx context.Context, client string) (release func(), err error) {
	busy := web.TooMany(l.patience, "session.busy", "Too many people sign in at this moment.")
	l.mu.Lock()
	if l.total >= l.waiting || l.of[client] >= l.each {
		l.mu.Unlock()
		return nil, busy
	}
	l.total++
	l.of[client]++
	l.mu.Unlock()
	leave := func() {
		l.mu.Lock()
		defer l.mu.Unlock()
		l.total--
		if l.of[client]--; l.of[client] == 0 {
			delete(l.of, client)
		}
	}
	patience := time.NewTimer(l.patience)
	defer patience.Stop()
	select {
	case l.work <- struct{}{}:
		return func() { <-l.work; leave() }, nil
	case <-patience.C:
		leave()
		return nil, busy
	case <-ctx.Done():
		leave()
		return nil, ctx.Err()
	}
}
