// Short names for what the API describes. schema.ts is generated from openapi.json (`npm run gen`).
import type { components } from "./schema";

type Schemas = components["schemas"];

export type Me = Schemas["AccountMe"];
export type User = Schemas["AccountUser"];
export type Team = Schemas["AccountTeam"];
export type Role = Schemas["AccountMember"]["role"];
export type Session = Schemas["AccountSession"];
export type Token = Schemas["AccountToken"];
export type NewToken = Schemas["CreateTokenInputBody"];
export type AuditRecord = Schemas["AccountRecord"];
export type App = Schemas["AppDetail"];
export type Desired = Schemas["AppDesired"];
export type Environment = Schemas["AppEnvironment"];
export type EnvironmentBody = Schemas["AppEnvironmentBody"];
export type Instance = Schemas["AppInstance"];
export type NewApp = Schemas["AppCreate"];
export type Waiver = Schemas["AppWaiver"];
export type NewWaiver = Schemas["AppAskWaiver"];
export type Secret = Schemas["Secret"];

export type Change = Schemas["Change"];
export type ChangeDetail = Schemas["ServerChangeDetail"];
export type Check = Schemas["ChangeCheck"];
export type Lane = NonNullable<Change["lane"]>;
export type Form = Schemas["ChangeForm"];
export type EnvironmentForm = Omit<Schemas["ChangeFields"], "schema"> & { schema: Schema };
export type Preview = Schemas["ChangePreview"];
export type FileDiff = Schemas["GitFileDiff"];

export type Certification = Schemas["CertifyCertification"];
export type Decision = Schemas["CertifyDecisionInputBody"];

export type Deployment = Schemas["Deployment"];
export type Step = Schemas["DeployStep"];

export type Pattern = Schemas["PatternSummary"];
export type PatternVersion = Schemas["PatternVersion"];
export type PatternVariable = Schemas["PatternVariable"];
export type PatternRequest = Schemas["PatternRequest"];
export type NewRequest = Schemas["PatternAskInputBody"];
export type RequestAnswer = Schemas["PatternAnswerInputBody"];

export type Story = Schemas["BacklogStory"];
export type Home = Schemas["ServerHome"];
export type HomeItem = Schemas["ServerItem"];
/** The data of an event, by its type. */
export type Facts = Schemas["Facts"];
export type News = Schemas["News"];
export type Topic = Schemas["Topic"];
export type Noun = Topic["noun"];
export type ProblemBody = Schemas["Problem"];

/** Values of variables, by name. */
export type Values = Record<string, unknown>;

// What the API passes on without describing it: plans, as Go's tofu.Plan, and JSON Schema.

export type PlanAction = "no-op" | "create" | "read" | "update" | "replace" | "delete" | "forget";
/** One thing that a plan does; every count and list derives from these. */
export interface PlanEffect {
  kind: "destroy" | "destroy_deposed" | "replace" | "forget" | "update" | "invoke" | "create" | "import" | "move" | "read" | "output" | "check";
  address: string;
  previous?: string;
  import?: string;
  deposed?: string;
}
export interface ResourceChange {
  address: string;
  previous?: string;
  import?: string;
  deposed?: string;
  type: string;
  data?: boolean;
  action: PlanAction;
  reason?: string;
  replace_paths?: string[];
  before: unknown;
  after: unknown;
}
export interface Plan {
  engine?: string;
  effects?: PlanEffect[];
  changes: ResourceChange[];
  drift?: ResourceChange[];
  outputs?: { name: string; action: PlanAction; before: unknown; after: unknown }[];
  checks?: { address: string; status: string; problems: string[] }[];
  invocations?: { address: string; for: string; with: unknown }[];
}

export interface Schema {
  type?: string | string[];
  title?: string;
  description?: string;
  default?: unknown;
  enum?: unknown[];
  const?: unknown;
  minimum?: number;
  maximum?: number;
  exclusiveMinimum?: number;
  exclusiveMaximum?: number;
  multipleOf?: number;
  minLength?: number;
  maxLength?: number;
  pattern?: string;
  format?: string;
  items?: Schema;
  minItems?: number;
  maxItems?: number;
  properties?: Record<string, Schema>;
  required?: string[];
  readOnly?: boolean;
  /** Values outside the bounds that a waiver in force accepts, with its end date. */
  waived?: { value: unknown; until: string }[];
}
