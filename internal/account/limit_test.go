package account

import (
	"context"
	"fmt"
	"testing"
	"time"

	"flywheel.dev/flywheel/internal/db"
	"flywheel.dev/flywheel/internal/db/dbtest"
	"flywheel.dev/flywheel/internal/fault"
)

// signing is a Flywheel with one admin, several replicas and a clock.
type signing struct {
	t        *testing.T
	db       *db.DB
	replicas []*Service
	password string
	now      time.Time
}

func newSigning(t *testing.T) *signing {
	t.Helper()
	d := dbtest.Open(t)
	s := &signing{t: t, db: d, replicas: []*Service{New(d), New(d)}, now: time.Now()}
	d.Now = func() time.Time { return s.now }
	var err error
	if _, s.password, err = s.replicas[0].Bootstrap(t.Context()); err != nil {
		t.Fatal(err)
	}
	return s
}

// try attempts to sign in and returns the code of the refusal, or "".
func (s *signing) try(replica int, a Attempt) (code string, in SignedIn) {
	s.t.Helper()
	_, in, err := s.replicas[replica].SignIn(s.t.Context(), a)
	if err == nil {
		return "", in
	}
	return fault.From(err).Code, in
}

func TestAttemptsAreCountedForAllReplicasTogether(t *testing.T) {
	s := newSigning(t)
	for i := range 5 {
		if code, _ := s.try(i%2, Attempt{Name: "admin", Password: "guess", Address: "192.0.2.7"}); code != "session.refused" {
			t.Fatal(i, code)
		}
	}
	for replica := range 2 {
		if code, _ := s.try(replica, Attempt{Name: "admin", Password: s.password, Address: "192.0.2.7"}); code != "session.too_many" {
			t.Errorf("replica %d: %s", replica, code)
		}
	}
	s.now = s.now.Add(11 * time.Second)
	if code, _ := s.try(1, Attempt{Name: "admin", Password: s.password, Address: "192.0.2.7"}); code != "" {
		t.Error("after the wait:", code)
	}
}

func TestTheAddressesOfOneNetworkCountTogether(t *testing.T) {
	s := newSigning(t)
	for i := range 5 {
		s.try(0, Attempt{Name: "admin", Password: "guess", Address: fmt.Sprintf("2001:db8:0:1::%x", i+1)})
	}
	for address, want := range map[string]string{"2001:db8:0:1:ffff::1": "session.too_many", "2001:db8:0:1::9%eth0": "session.too_many", "2001:db8:0:2::1": "session.refused"} {
		if code, _ := s.try(0, Attempt{Name: "admin", Password: "guess", Address: address}); code != want {
			t.Errorf("%s: %s, want %s", address, code, want)
		}
	}
}

func TestANetworkThatTriesManyNamesIsSlowedDown(t *testing.T) {
	s := newSigning(t)
	refused := 0
	for i := range 40 {
		if code, _ := s.try(i%2, Attempt{Name: fmt.Sprintf("name-%d", i), Password: "guess", Address: "192.0.2.7"}); code == "session.too_many" {
			refused++
		}
	}
	if refused != 10 {
		t.Errorf("%d of 40 were refused, want 10", refused)
	}
	if code, _ := s.try(0, Attempt{Name: "name-0", Password: "guess", Address: "192.0.2.8"}); code != "session.refused" {
		t.Error("another network:", code)
	}
}

func TestNobodyLocksAPersonOut(t *testing.T) {
	s := newSigning(t)
	_, laptop := s.try(0, Attempt{Name: "admin", Password: s.password, Address: "198.51.100.1"})
	if laptop.Client == "" {
		t.Fatal("the browser is not known later")
	}
	slow := 0
	for i := range 60 { // from many networks, so that only the name is limited
		if code, _ := s.try(i%2, Attempt{Name: "admin", Password: "guess", Address: fmt.Sprintf("203.0.113.%d", i)}); code == "session.too_many" {
			slow++
		}
	}
	if slow != 40 {
		t.Errorf("%d of 60 guesses were refused, want 40", slow)
	}
	for i := range 5 { // and from the person's own network, which does not have their browser
		s.try(0, Attempt{Name: "admin", Password: "guess", Address: "198.51.100.1", Client: fmt.Sprintf("forged-%d", i)})
	}
	for name, c := range map[string]struct {
		a    Attempt
		want string
	}{
		"a known browser elsewhere":        {Attempt{Address: "203.0.113.200", Client: laptop.Client}, ""},
		"a known browser where it was":     {Attempt{Address: "198.51.100.1", Client: laptop.Client}, ""},
		"a stranger with the password":     {Attempt{Address: "203.0.113.201"}, "session.too_many"},
		"a stranger with a forged browser": {Attempt{Address: "203.0.113.202", Client: "forged"}, "session.too_many"},
	} {
		c.a.Name, c.a.Password = "admin", s.password
		if code, _ := s.try(1, c.a); code != c.want {
			t.Errorf("%s: %q, want %q", name, code, c.want)
		}
	}
	for range 5 { // a browser that was stolen is limited too
		s.try(0, Attempt{Name: "admin", Password: "guess", Address: "203.0.113.9", Client: laptop.Client})
	}
	if code, _ := s.try(0, Attempt{Name: "admin", Password: "guess", Address: "203.0.113.9", Client: laptop.Client}); code != "session.too_many" {
		t.Error("a known browser that guesses:", code)
	}
}

func TestWhatIsHotIsNotForgotten(t *testing.T) {
	s := newSigning(t)
	err := s.db.Write(t.Context(), func(tx *db.Tx) error {
		hot := ofPair.of("admin", "192.0.2.7")
		for range 5 {
			if pause, err := take(tx, hot); err != nil || pause > 0 {
				return fmt.Errorf("%v %w", pause, err)
			}
		}
		for i := range 300 {
			if _, err := take(tx, ofPair.of("other", fmt.Sprint(i))); err != nil {
				return err
			}
		}
		if err := sweep(tx, 100); err != nil {
			return err
		}
		var n int64
		if err := tx.QueryRow("select count(*) from attempt").Scan(&n); err != nil || n != 100 {
			t.Errorf("%d keys are kept, %v", n, err)
		}
		if pause, err := wait(tx, hot); err != nil || pause <= 0 {
			t.Errorf("the hot one may go on at once, %v", err)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	s.now = s.now.Add(time.Hour)
	err = s.db.Write(t.Context(), func(tx *db.Tx) error {
		if err := sweep(tx, 100); err != nil {
			return err
		}
		var n int64
		if err := tx.QueryRow("select count(*) from attempt").Scan(&n); err != nil || n != 0 {
			t.Errorf("%d keys with nothing to work off are kept, %v", n, err)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

func TestALaneRefusesToWaitLongOrForMany(t *testing.T) {
	l := &lane{work: make(chan struct{}, 1), waiting: 3, each: 2, patience: 50 * time.Millisecond, of: map[string]int{}}
	release, err := l.acquire(t.Context(), "a")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := l.acquire(t.Context(), "b"); !fault.Is(err, "session.busy") {
		t.Errorf("after its patience: %v", err)
	}
	gone, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := l.acquire(gone, "b"); err == nil {
		t.Error("it waits for a client that has gone")
	}
	release()
	for range 3 { // nothing is left of those that gave up
		release, err := l.acquire(t.Context(), "b")
		if err != nil {
			t.Fatal(err)
		}
		release()
	}
	if l.total != 0 || len(l.of) != 0 {
		t.Errorf("%d wait, %v", l.total, l.of)
	}
}
