variables {
  artifact = "sha256:0000000000000000000000000000000000000000000000000000000000000000"
}
run "one_process" {
  command = plan
  assert {
    condition     = flywheel_service.app.instances == 1
    error_message = "One process by default."
  }
}
