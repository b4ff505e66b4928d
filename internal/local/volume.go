package local

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"

	"flywheel.dev/flywheel/internal/fault"
)

func (a *agent) volumePath(id string) string { return filepath.Join(a.dir, "volumes", id) }

// applyVolume makes the volume, or changes what it is asked to hold. Its content is never touched.
func (a *agent) applyVolume(v Volume, fence int64) (Volume, error) {
	if err := v.check(); err != nil {
		return Volume{}, err
	}
	if err := a.raiseFence(v.Instance, fence); err != nil {
		return Volume{}, err
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	v.ID = VolumeID(v.Instance, v.Name)
	if err := os.MkdirAll(a.volumePath(v.ID), 0o700); err != nil {
		return Volume{}, full(err)
	}
	if err := a.store.save("volumes", v.ID, Volume{Instance: v.Instance, Name: v.Name, SizeMB: v.SizeMB, ID: v.ID}); err != nil {
		return Volume{}, err
	}
	return a.withUse(v), nil
}

func (a *agent) getVolume(id string) (Volume, error) {
	var v Volume
	err := a.store.load("volumes", filepath.Base(id), &v)
	if errors.Is(err, fs.ErrNotExist) {
		return Volume{}, volumeMissing(id)
	}
	if err != nil {
		return Volume{}, err
	}
	if _, err := os.Stat(a.volumePath(v.ID)); err != nil || v.Deleted {
		return Volume{}, volumeMissing(id) // the folder is gone: so is the volume
	}
	return a.withUse(v), nil
}

// ownVolume returns a volume of the instance. One of another instance looks as if it were not there.
func (a *agent) ownVolume(instance, id string) (Volume, error) {
	v, err := a.getVolume(id)
	if err == nil && v.Instance != instance {
		return Volume{}, volumeMissing(id)
	}
	return v, err
}

// listVolumes returns the volumes of an instance, or all if it is "".
func (a *agent) listVolumes(instance string) ([]Volume, error) {
	ids, err := a.store.ids("volumes")
	if err != nil {
		return nil, err
	}
	volumes := []Volume{}
	for _, id := range ids {
		v, err := a.getVolume(id)
		if fault.Is(err, "volume.not_found") {
			continue
		}
		if err != nil {
			return nil, err
		}
		if instance == "" || v.Instance == instance {
			volumes = append(volumes, v)
		}
	}
	return volumes, nil
}

// deleteVolume removes a volume and its content for good. For everybody it is gone at once; what it holds
// goes when the last service has let go of it. So an engine may replace a mounted volume in its own order
// (delete, create, move the service over), and where that fails in the middle, what ran before still has
// its data, and a volume made again under its name is the same one. It is fine if there is none.
func (a *agent) deleteVolume(instance, id string, fence int64) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	var v Volume
	err := a.store.load("volumes", filepath.Base(id), &v)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	if v.Instance != instance {
		return volumeMissing(id)
	}
	if err := a.raiseFence(v.Instance, fence); err != nil {
		return err
	}
	v.Deleted = true
	if err := a.store.save("volumes", v.ID, v); err != nil {
		return err
	}
	return a.removeDeleted()
}

// removeDeleted removes what deleted volumes hold that no service mounts. The caller has a.mu.
func (a *agent) removeDeleted() error {
	if a.ctx.Err() != nil {
		return nil // a stopping agent has let go of its services, which have not let go of their volumes
	}
	mounted := map[string]bool{}
	mounts := func(s Service) {
		for _, id := range s.Volumes {
			mounted[id] = true
		}
	}
	for _, one := range a.applying {
		mounts(one.service)
	}
	for _, s := range a.services {
		s.mu.Lock()
		mounts(s.record.Service)
		s.mu.Unlock()
	}
	ids, err := a.store.ids("volumes")
	if err != nil {
		return err
	}
	for _, id := range ids {
		var v Volume
		if err := a.store.load("volumes", id, &v); err != nil {
			return err
		}
		if !v.Deleted || mounted[v.ID] {
			continue
		}
		if err := a.store.remove("volumes", v.ID); err != nil {
			return err
		}
		removeTree(a.volumePath(v.ID))
	}
	return nil
}

// letGo is removeDeleted after a service has let go of its volumes. What stays goes with the next one.
func (a *agent) letGo() {
	a.mu.Lock()
	defer a.mu.Unlock()
	if err := a.removeDeleted(); err != nil {
		a.log.Warn("deleted volumes stay", "error", err)
	}
}

// withUse adds where the volume is and how much it holds.
func (a *agent) withUse(v Volume) Volume {
	v.Path = a.volumePath(v.ID)
	v.UsedMB = int((bytesBelow(v.Path) + 1<<20 - 1) >> 20)
	return v
}

// putSecrets replaces the secrets of an instance. Running processes keep theirs until the next apply or
// release, which replaces them if a value they were given changed.
func (a *agent) putSecrets(instance string, values map[string]string, fence int64) error {
	if !instanceRule.MatchString(instance) {
		return fault.New(fault.Invalid, "instance.invalid", "%q is not the id of an instance.", instance)
	}
	write, err := a.replaceSecrets(instance, values, fence)
	if err != nil {
		return err
	}
	return write()
}

// replaceSecrets refuses a caller that was overtaken. What it returns must be called: it writes the record,
// and nobody else reads or writes one until it has.
func (a *agent) replaceSecrets(instance string, values map[string]string, fence int64) (write func() error, err error) {
	a.fences.Lock()
	record, err := a.fenced(instance, fence)
	if err == nil {
		record.Secrets = map[string]string{}
		for name, value := range values {
			if record.Secrets[name], err = a.store.seal(a.ctx, value); err != nil {
				break
			}
		}
	}
	if err != nil {
		a.fences.Unlock()
		return nil, err
	}
	return func() error {
		defer a.fences.Unlock()
		return a.store.save("instances", instance, record)
	}, nil
}

// secretsOf returns the values of the secrets that a service refers to, by environment name.
func (a *agent) secretsOf(s Service) (map[string]string, error) {
	if len(s.Secrets) == 0 {
		return map[string]string{}, nil
	}
	record, err := a.store.instance(s.Instance)
	if err != nil {
		return nil, err
	}
	values := map[string]string{}
	for name, sealed := range record.Secrets {
		if values[name], err = a.store.open(a.ctx, sealed); err != nil {
			return nil, err
		}
	}
	return s.pick(values)
}

// pick returns those of an instance's secrets that the service refers to, by environment name.
func (s Service) pick(secrets map[string]string) (map[string]string, error) {
	picked := map[string]string{}
	for _, env := range sortedKeys(s.Secrets) {
		value, found := secrets[s.Secrets[env]]
		if !found {
			return nil, fault.New(fault.Conflict, "secret.not_set", "The service %s asks for the secret %q, which is not set.", s.Name, s.Secrets[env]).
				Do("Set it with `flywheel secret set APP ENVIRONMENT %s`, then deploy again.", s.Secrets[env])
		}
		picked[env] = value
	}
	return picked, nil
}

// raiseFence refuses a caller whose fence is lower than one seen before for this instance: it was
// overtaken. 0 carries no fence.
func (a *agent) raiseFence(instance string, fence int64) error {
	a.fences.Lock()
	defer a.fences.Unlock()
	if fence == 0 {
		return nil
	}
	old, err := a.store.instance(instance)
	if err != nil || old.Fence == fence {
		return err
	}
	record, err := a.fenced(instance, fence)
	if err != nil {
		return err
	}
	return a.store.save("instances", instance, record)
}

// noteCancel remembers that nothing is to be brought up for the instance with this fence or a lower one.
func (a *agent) noteCancel(instance string, fence int64) error {
	a.fences.Lock()
	defer a.fences.Unlock()
	record, err := a.fenced(instance, fence)
	if err != nil || record.Cancelled >= fence {
		return err
	}
	record.Cancelled = fence
	return a.store.save("instances", instance, record)
}

func (a *agent) fenced(instance string, fence int64) (instanceRecord, error) {
	record, err := a.store.instance(instance)
	if err != nil {
		return record, err
	}
	if fence == 0 {
		fence = record.Fence
	}
	if fence < record.Fence {
		return record, fault.New(fault.Stale, "instance.fenced", "A newer deployment of %s has taken over.", instance).
			Do("Look at the newer deployment.")
	}
	record.Fence = fence
	return record, nil
}
