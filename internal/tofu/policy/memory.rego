# Every service has a memory limit, so that one cannot starve its neighbours.
package flywheel

deny contains {"address": change.address, "msg": msg} if {
	some change in input.resource_changes
	change.type == "flywheel_service"
	change.change.after != null
	object.get(change.change.after, "memory_mb", null) in {null, 0}
	not object.get(change.change.after_unknown, "memory_mb", false)
	msg := sprintf("%s has no memory_mb, so it could take all memory of the target.", [change.address])
}
