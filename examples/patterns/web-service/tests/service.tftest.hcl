variables {
  artifact = "sha256:0000000000000000000000000000000000000000000000000000000000000000"
}

run "defaults" {
  command = plan

  assert {
    condition     = flywheel_service.app.instances == 2
    error_message = "Two processes serve by default."
  }
  assert {
    condition     = flywheel_service.app.health_path == "/healthz"
    error_message = "Every service has a health check."
  }
  assert {
    condition     = keys(flywheel_service.app.volumes) == tolist([flywheel_service.app.env["DATA_DIR"]])
    error_message = "DATA_DIR is where the volume is."
  }
}

run "team_choices_reach_the_service" {
  command = plan
  variables {
    instances  = 5
    db_version = "16"
  }

  assert {
    condition     = flywheel_service.app.instances == 5 && flywheel_service.app.env["DB_VERSION"] == "16"
    error_message = "instances and db_version must reach the service."
  }
}

run "an_app_without_payments_needs_no_secret" {
  command = plan

  assert {
    condition     = length(flywheel_service.app.secrets) == 0
    error_message = "The default must work before anybody has set a secret."
  }
}

run "payments_bring_the_key" {
  command = plan
  variables {
    payments = true
  }

  assert {
    condition     = flywheel_service.app.secrets["PAYMENT_KEY"] == "payment_key"
    error_message = "PAYMENT_KEY refers to the secret payment_key."
  }
}

run "an_unknown_database_is_refused" {
  command = plan
  variables {
    db_version = "9"
  }
  expect_failures = [var.db_version]
}
