package deploy

import (
	"context"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"testing"
	"time"

	"flywheel.dev/flywheel/internal/outbound"
)

func TestTheBridgeOfASmokeTestLeadsToItsInstanceOnly(t *testing.T) {
	asked := make(chan string, 10)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked <- r.Host + r.URL.Path
		io.WriteString(w, "well")
	}))
	defer server.Close()
	through := func(at outbound.Target) (string, error) {
		socket := filepath.Join(t.TempDir(), "s")
		bridge, err := openBridge(socket, at)
		if err != nil {
			t.Fatal(err)
		}
		defer bridge.Close()
		client := &http.Client{Timeout: time.Minute, Transport: &http.Transport{
			DisableKeepAlives: true,
			DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
				return (&net.Dialer{}).DialContext(ctx, "unix", socket)
			},
		}}
		response, err := client.Get("http://169.254.169.254/latest") // whatever the test asks for
		if err != nil {
			return "", err
		}
		defer response.Body.Close()
		text, err := io.ReadAll(response.Body)
		return string(text), err
	}
	guard := &outbound.Guard{}
	at, err := outbound.Policy{Guard: guard, Own: []string{server.Listener.Addr().String()}}.Check(server.URL)
	if err != nil {
		t.Fatal(err)
	}
	if text, err := through(at); err != nil || text != "well" || <-asked != "169.254.169.254/latest" {
		t.Fatalf("the instance answers %q, %v", text, err)
	}
	guard.Protect(server.Listener.Addr()) // as if the address had become the platform's since
	if text, err := through(at); err == nil {
		t.Errorf("the platform answers %q", text)
	}
	select {
	case what := <-asked:
		t.Errorf("the platform was asked for %s", what)
	default:
	}
}
