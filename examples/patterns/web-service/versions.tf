terraform {
  required_providers {
    flywheel = { source = "registry.flywheel.dev/flywheel/flywheel" }
  }
}
