variable "artifact" {
  description = "Digest of the app's artifact. Flywheel sets it."
  type        = string
}

variable "instances" {
  description = "How many processes serve requests"
  type        = number
  default     = 2
}

variable "memory_mb" {
  description = "Memory limit of each process, in MiB"
  type        = number
  default     = 256
}

variable "payments" {
  description = "Whether the app takes payments. It then needs the secret payment_key, which it finds in PAYMENT_KEY"
  type        = bool
  default     = false
}

variable "db_version" {
  description = "Version of the database the app speaks to"
  type        = string
  default     = "15"

  validation {
    condition     = contains(["15", "16"], var.db_version)
    error_message = "The database is 15 or 16."
  }
}

variable "search_artifact" {
  description = "Digest of the program that searches. It comes with the pattern."
  type        = string
  default     = "sha256:@SEARCH_ARTIFACT@"

  validation {
    condition     = can(regex("^sha256:[0-9a-f]{64}$", var.search_artifact))
    error_message = "It is a digest, as `flywheel artifact upload` prints it."
  }
}
