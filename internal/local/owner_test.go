package local

import (
	"context"
	"testing"
)

// An id can come from the output of a pattern, and so from the variables of any team.
func TestAnIdOfAnotherInstanceIsNoIdAtAll(t *testing.T) {
	agent, _ := startAgent(t)
	volume, err := agent.ApplyVolume(t.Context(), Volume{Instance: "ins_shop", Name: "data", SizeMB: 10})
	must(t, err)
	must(t, agent.PutSecrets(t.Context(), "ins_shop", map[string]string{"token": "the-shops-own"}))
	service := shop(artifact(t, agent, "one", ""))
	service.Volumes, service.Secrets = map[string]string{"/data": volume.ID}, map[string]string{"TOKEN": "token"}
	victim := apply(t, agent, service)
	theirs := artifact(t, agent, "two", "")

	attacks := []struct {
		name, code string
		attack     func(ctx context.Context, c *Client) error
	}{
		{"a release", "service.not_found", func(ctx context.Context, c *Client) error {
			_, err := c.Release(ctx, victim.ID, theirs, map[string]string{"token": "stolen"})
			return err
		}},
		{"a release that carries a fence", "service.not_found", func(ctx context.Context, c *Client) error {
			c.Fence = 1 << 40 // it would lock the neighbour out for ever
			_, err := c.Release(ctx, victim.ID, theirs, nil)
			return err
		}},
		{"a preparation", "service.not_found", func(ctx context.Context, c *Client) error { return c.Prepare(ctx, victim.ID, theirs) }},
		{"a look", "service.not_found", func(ctx context.Context, c *Client) error { _, err := c.GetService(ctx, victim.ID); return err }},
		{"the log", "service.not_found", func(ctx context.Context, c *Client) error { _, err := c.Logs(ctx, victim.ID, false); return err }},
		{"a stop", "service.not_found", func(ctx context.Context, c *Client) error { return c.DeleteService(ctx, victim.ID) }},
		{"a look at a volume", "volume.not_found", func(ctx context.Context, c *Client) error { _, err := c.GetVolume(ctx, volume.ID); return err }},
		{"the end of a volume", "volume.not_found", func(ctx context.Context, c *Client) error { return c.DeleteVolume(ctx, volume.ID) }},
		{"a volume to mount", "volume.not_found", func(ctx context.Context, c *Client) error {
			_, err := c.ApplyService(ctx, Service{Instance: "ins_other", Name: "thief", Artifact: theirs, Command: []string{"./app"}, Volumes: map[string]string{"/data": volume.ID}})
			return err
		}},
		{"a service to use", "service.not_found", func(ctx context.Context, c *Client) error {
			_, err := c.ApplyService(ctx, Service{Instance: "ins_other", Name: "thief", Artifact: theirs, Command: []string{"./app"}, Uses: map[string]string{"SHOP": victim.ID}})
			return err
		}},
	}
	for _, whose := range []string{"ins_other", ""} {
		for _, a := range attacks {
			t.Run(a.name+" by "+whose, func(t *testing.T) {
				thief := *agent
				thief.Instance = whose
				wantFault(t, a.attack(t.Context(), &thief), a.code)
			})
		}
	}
	now, err := agent.GetService(t.Context(), victim.ID)
	must(t, err)
	if now.Health != Healthy || now.Artifact != victim.Artifact || pids(now)[0] != pids(victim)[0] || now.Prepared != 0 {
		t.Errorf("the neighbour is now %+v", now)
	}
	if _, err := agent.GetVolume(t.Context(), volume.ID); err != nil {
		t.Errorf("the neighbour's volume: %v", err)
	}
	if got := get(t, victim.URL+"/env?name=TOKEN"); got != "the-shops-own" {
		t.Errorf("the neighbour's secret is now %q", got)
	}
	must(t, agent.PutSecrets(t.Context(), "ins_shop", map[string]string{"token": "again"})) // no fence was raised
	deployed := deployment(agent, 1)
	_, err = deployed.Release(t.Context(), victim.ID, theirs, map[string]string{"token": "again"})
	must(t, err)
}
