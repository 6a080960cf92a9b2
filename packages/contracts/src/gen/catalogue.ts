// Written by "npm run generate" from proto/.
import type { EventCatalogue } from "../catalogue.ts";

/** Every event type of these contracts. */
export const eventCatalogue: EventCatalogue = {
  "version": "0.2.0",
  "families": [
    {
      "name": "tributary.system.v1",
      "meaning": "The life of connections: who linked what, and what became of it."
    },
    {
      "name": "tributary.task.v1",
      "meaning": "To-do items, in words that every to-do provider shares."
    }
  ],
  "events": [
    {
      "type": "tributary.system.v1.ConnectionDisconnected",
      "family": "tributary.system.v1",
      "file": "tributary/system/v1/connection_events.proto",
      "meaning": "A connection was ended: revoked at the provider where that was possible, and its secrets deleted.",
      "subject": "sys.v1.{organization}.{connector}.connection.disconnected",
      "since": "0.1.0",
      "deprecated": false,
      "fields": [
        {
          "name": "connection",
          "jsonName": "connection",
          "number": 1,
          "type": "tributary.system.v1.Connection",
          "repeated": false,
          "mapKey": null,
          "oneof": null,
          "personalData": false,
          "deprecated": false,
          "meaning": "The connection that this is about."
        },
        {
          "name": "receipt_id",
          "jsonName": "receiptId",
          "number": 2,
          "type": "string",
          "repeated": false,
          "mapKey": null,
          "oneof": null,
          "personalData": false,
          "deprecated": false,
          "meaning": "Id of the receipt that the owner was given."
        }
      ],
      "example": {
        "connection": {
          "id": "0b6f7c7e-54d1-4f9a-9a54-3f7f0a1c2d3e",
          "connector": "todoist",
          "ownerId": "person-17"
        },
        "receiptId": "6d8f2a90-1c35-4e0b-8a77-52b9b3f0c4d1"
      }
    },
    {
      "type": "tributary.system.v1.ConnectionLinked",
      "family": "tributary.system.v1",
      "file": "tributary/system/v1/connection_events.proto",
      "meaning": "A person or an organisation linked an account.",
      "subject": "sys.v1.{organization}.{connector}.connection.linked",
      "since": "0.1.0",
      "deprecated": false,
      "fields": [
        {
          "name": "connection",
          "jsonName": "connection",
          "number": 1,
          "type": "tributary.system.v1.Connection",
          "repeated": false,
          "mapKey": null,
          "oneof": null,
          "personalData": false,
          "deprecated": false,
          "meaning": "The connection that this is about."
        },
        {
          "name": "granted_scopes",
          "jsonName": "grantedScopes",
          "number": 2,
          "type": "string",
          "repeated": true,
          "mapKey": null,
          "oneof": null,
          "personalData": false,
          "deprecated": false,
          "meaning": "The permissions that were given, as the provider's scope ids."
        }
      ],
      "example": {
        "connection": {
          "id": "0b6f7c7e-54d1-4f9a-9a54-3f7f0a1c2d3e",
          "connector": "todoist",
          "ownerId": "person-17"
        },
        "grantedScopes": [
          "data:read_write",
          "data:delete"
        ]
      }
    },
    {
      "type": "tributary.system.v1.ConnectionStateChanged",
      "family": "tributary.system.v1",
      "file": "tributary/system/v1/connection_events.proto",
      "meaning": "The state of a connection changed.",
      "subject": "sys.v1.{organization}.{connector}.connection.changed",
      "since": "0.1.0",
      "deprecated": false,
      "fields": [
        {
          "name": "connection",
          "jsonName": "connection",
          "number": 1,
          "type": "tributary.system.v1.Connection",
          "repeated": false,
          "mapKey": null,
          "oneof": null,
          "personalData": false,
          "deprecated": false,
          "meaning": "The connection that this is about."
        },
        {
          "name": "previous",
          "jsonName": "previous",
          "number": 2,
          "type": "tributary.system.v1.ConnectionState",
          "repeated": false,
          "mapKey": null,
          "oneof": null,
          "personalData": false,
          "deprecated": false,
          "meaning": "The state before."
        },
        {
          "name": "current",
          "jsonName": "current",
          "number": 3,
          "type": "tributary.system.v1.ConnectionState",
          "repeated": false,
          "mapKey": null,
          "oneof": null,
          "personalData": false,
          "deprecated": false,
          "meaning": "The state now."
        },
        {
          "name": "reason",
          "jsonName": "reason",
          "number": 4,
          "type": "string",
          "repeated": false,
          "mapKey": null,
          "oneof": null,
          "personalData": false,
          "deprecated": false,
          "meaning": "Stable code of the reason, such as \"reauth_required\". Empty when a person chose the state."
        }
      ],
      "example": {
        "connection": {
          "id": "0b6f7c7e-54d1-4f9a-9a54-3f7f0a1c2d3e",
          "connector": "todoist",
          "ownerId": "person-17"
        },
        "previous": "CONNECTION_STATE_CONNECTED",
        "current": "CONNECTION_STATE_EXPIRED",
        "reason": "reauth_required"
      }
    },
    {
      "type": "tributary.task.v1.TaskChanged",
      "family": "tributary.task.v1",
      "file": "tributary/task/v1/task_events.proto",
      "meaning": "A task was created, or something about it changed while it stayed open.",
      "subject": "evt.v1.{organization}.{connector}.task.changed",
      "since": "0.1.0",
      "deprecated": false,
      "fields": [
        {
          "name": "task",
          "jsonName": "task",
          "number": 1,
          "type": "tributary.task.v1.Task",
          "repeated": false,
          "mapKey": null,
          "oneof": null,
          "personalData": false,
          "deprecated": false,
          "meaning": "The task as it is now."
        }
      ],
      "example": {
        "task": {
          "id": "8841002",
          "title": "Water the ferns",
          "description": "The two by the window need less.",
          "due": {
            "date": "2026-03-09",
            "time": "2026-03-09T07:30:00Z",
            "timeZone": "Europe/Warsaw",
            "recurrence": {
              "rule": "every other Monday",
              "language": "en"
            }
          },
          "priority": "PRIORITY_HIGH",
          "labels": [
            "home",
            "plants"
          ],
          "projectId": "2203",
          "parentId": "8841000",
          "assigneeId": "51877",
          "createdAt": "2026-02-23T18:04:11Z",
          "updatedAt": "2026-03-02T08:15:30.250Z"
        }
      }
    },
    {
      "type": "tributary.task.v1.TaskCompleted",
      "family": "tributary.task.v1",
      "file": "tributary/task/v1/task_events.proto",
      "meaning": "A task was ticked off. A recurring task that moved on to its next occurrence is a TaskChanged instead.",
      "subject": "evt.v1.{organization}.{connector}.task.completed",
      "since": "0.1.0",
      "deprecated": false,
      "fields": [
        {
          "name": "task",
          "jsonName": "task",
          "number": 1,
          "type": "tributary.task.v1.Task",
          "repeated": false,
          "mapKey": null,
          "oneof": null,
          "personalData": false,
          "deprecated": false,
          "meaning": "The task as it was when it was completed."
        },
        {
          "name": "completed_at",
          "jsonName": "completedAt",
          "number": 2,
          "type": "google.protobuf.Timestamp",
          "repeated": false,
          "mapKey": null,
          "oneof": null,
          "personalData": false,
          "deprecated": false,
          "meaning": "When it was completed, by the provider's clock."
        }
      ],
      "example": {
        "task": {
          "id": "8841002",
          "title": "Water the ferns",
          "due": {
            "date": "2026-03-09"
          },
          "priority": "PRIORITY_NORMAL",
          "labels": [
            "home"
          ],
          "projectId": "2203",
          "createdAt": "2026-02-23T18:04:11Z",
          "updatedAt": "2026-03-09T07:41:02Z"
        },
        "completedAt": "2026-03-09T07:41:02Z"
      }
    },
    {
      "type": "tributary.task.v1.TaskDeleted",
      "family": "tributary.task.v1",
      "file": "tributary/task/v1/task_events.proto",
      "meaning": "A task was deleted at the provider.",
      "subject": "evt.v1.{organization}.{connector}.task.deleted",
      "since": "0.1.0",
      "deprecated": false,
      "fields": [
        {
          "name": "task_id",
          "jsonName": "taskId",
          "number": 1,
          "type": "string",
          "repeated": false,
          "mapKey": null,
          "oneof": null,
          "personalData": false,
          "deprecated": false,
          "meaning": "The provider's id of the task."
        }
      ],
      "example": {
        "taskId": "8841002"
      }
    },
    {
      "type": "tributary.task.v1.TaskReopened",
      "family": "tributary.task.v1",
      "file": "tributary/task/v1/task_events.proto",
      "meaning": "A completed task was opened again.",
      "subject": "evt.v1.{organization}.{connector}.task.reopened",
      "since": "0.1.0",
      "deprecated": false,
      "fields": [
        {
          "name": "task",
          "jsonName": "task",
          "number": 1,
          "type": "tributary.task.v1.Task",
          "repeated": false,
          "mapKey": null,
          "oneof": null,
          "personalData": false,
          "deprecated": false,
          "meaning": "The task as it is now."
        }
      ],
      "example": {
        "task": {
          "id": "8841002",
          "title": "Water the ferns",
          "priority": "PRIORITY_NORMAL",
          "projectId": "2203",
          "createdAt": "2026-02-23T18:04:11Z",
          "updatedAt": "2026-03-09T07:43:19Z"
        }
      }
    }
  ],
  "types": [
    {
      "type": "tributary.system.v1.Connection",
      "family": "tributary.system.v1",
      "kind": "message",
      "meaning": "What names a connection.",
      "deprecated": false,
      "fields": [
        {
          "name": "id",
          "jsonName": "id",
          "number": 1,
          "type": "string",
          "repeated": false,
          "mapKey": null,
          "oneof": null,
          "personalData": false,
          "deprecated": false,
          "meaning": "Id of the connection."
        },
        {
          "name": "connector",
          "jsonName": "connector",
          "number": 2,
          "type": "string",
          "repeated": false,
          "mapKey": null,
          "oneof": null,
          "personalData": false,
          "deprecated": false,
          "meaning": "Id of the connector that serves it, such as \"todoist\"."
        },
        {
          "name": "owner_id",
          "jsonName": "ownerId",
          "number": 3,
          "type": "string",
          "repeated": false,
          "mapKey": null,
          "oneof": null,
          "personalData": true,
          "deprecated": false,
          "meaning": "Id of the owner, a person or an organisation."
        }
      ],
      "values": []
    },
    {
      "type": "tributary.system.v1.ConnectionState",
      "family": "tributary.system.v1",
      "kind": "enum",
      "meaning": "The states that a connection can be in.",
      "deprecated": false,
      "fields": [],
      "values": [
        {
          "name": "CONNECTION_STATE_UNSPECIFIED",
          "number": 0,
          "meaning": "Not said.",
          "deprecated": false
        },
        {
          "name": "CONNECTION_STATE_CONNECTED",
          "number": 1,
          "meaning": "Working.",
          "deprecated": false
        },
        {
          "name": "CONNECTION_STATE_SYNCING",
          "number": 2,
          "meaning": "Reading its history for the first time, or again from the start.",
          "deprecated": false
        },
        {
          "name": "CONNECTION_STATE_ERROR",
          "number": 3,
          "meaning": "The last run failed; the next one is scheduled.",
          "deprecated": false
        },
        {
          "name": "CONNECTION_STATE_EXPIRED",
          "number": 4,
          "meaning": "The credential no longer works; the owner has to link the account again.",
          "deprecated": false
        },
        {
          "name": "CONNECTION_STATE_LIMITED",
          "number": 5,
          "meaning": "The owner gave fewer permissions than were asked for.",
          "deprecated": false
        },
        {
          "name": "CONNECTION_STATE_STALE",
          "number": 6,
          "meaning": "Nothing was read for longer than the connector allows.",
          "deprecated": false
        },
        {
          "name": "CONNECTION_STATE_PAUSED",
          "number": 7,
          "meaning": "Somebody paused it.",
          "deprecated": false
        },
        {
          "name": "CONNECTION_STATE_DISCONNECTED",
          "number": 8,
          "meaning": "Ended.",
          "deprecated": false
        }
      ]
    },
    {
      "type": "tributary.task.v1.Due",
      "family": "tributary.task.v1",
      "kind": "message",
      "meaning": "When a task is due: a day, or an instant.",
      "deprecated": false,
      "fields": [
        {
          "name": "date",
          "jsonName": "date",
          "number": 1,
          "type": "string",
          "repeated": false,
          "mapKey": null,
          "oneof": null,
          "personalData": false,
          "deprecated": false,
          "meaning": "The calendar day in the person's own zone, \"YYYY-MM-DD\"."
        },
        {
          "name": "time",
          "jsonName": "time",
          "number": 2,
          "type": "google.protobuf.Timestamp",
          "repeated": false,
          "mapKey": null,
          "oneof": null,
          "personalData": false,
          "deprecated": false,
          "meaning": "The instant, when the task is due at a time of day. Absent when it is due at any time of the day."
        },
        {
          "name": "time_zone",
          "jsonName": "timeZone",
          "number": 3,
          "type": "string",
          "repeated": false,
          "mapKey": null,
          "oneof": null,
          "personalData": false,
          "deprecated": false,
          "meaning": "IANA name of the zone the time was meant in, such as \"Europe/Warsaw\". Empty when the time floats."
        },
        {
          "name": "recurrence",
          "jsonName": "recurrence",
          "number": 4,
          "type": "tributary.task.v1.Recurrence",
          "repeated": false,
          "mapKey": null,
          "oneof": null,
          "personalData": false,
          "deprecated": false,
          "meaning": "How the task repeats. Absent when it does not."
        }
      ],
      "values": []
    },
    {
      "type": "tributary.task.v1.Priority",
      "family": "tributary.task.v1",
      "kind": "enum",
      "meaning": "How urgent a task is, least first.",
      "deprecated": false,
      "fields": [],
      "values": [
        {
          "name": "PRIORITY_UNSPECIFIED",
          "number": 0,
          "meaning": "The provider said nothing that maps to a priority.",
          "deprecated": false
        },
        {
          "name": "PRIORITY_NORMAL",
          "number": 1,
          "meaning": "Ordinary.",
          "deprecated": false
        },
        {
          "name": "PRIORITY_MEDIUM",
          "number": 2,
          "meaning": "Above ordinary.",
          "deprecated": false
        },
        {
          "name": "PRIORITY_HIGH",
          "number": 3,
          "meaning": "High.",
          "deprecated": false
        },
        {
          "name": "PRIORITY_URGENT",
          "number": 4,
          "meaning": "The provider's highest.",
          "deprecated": false
        }
      ]
    },
    {
      "type": "tributary.task.v1.Recurrence",
      "family": "tributary.task.v1",
      "kind": "message",
      "meaning": "How a task repeats.",
      "deprecated": false,
      "fields": [
        {
          "name": "rule",
          "jsonName": "rule",
          "number": 1,
          "type": "string",
          "repeated": false,
          "mapKey": null,
          "oneof": null,
          "personalData": false,
          "deprecated": false,
          "meaning": "The rule in the provider's words, such as \"every other Monday\"."
        },
        {
          "name": "language",
          "jsonName": "language",
          "number": 2,
          "type": "string",
          "repeated": false,
          "mapKey": null,
          "oneof": null,
          "personalData": false,
          "deprecated": false,
          "meaning": "BCP 47 tag of the language that the rule is written in. Empty when the provider does not say."
        }
      ],
      "values": []
    },
    {
      "type": "tributary.task.v1.Task",
      "family": "tributary.task.v1",
      "kind": "message",
      "meaning": "A to-do item as the provider last showed it.",
      "deprecated": false,
      "fields": [
        {
          "name": "id",
          "jsonName": "id",
          "number": 1,
          "type": "string",
          "repeated": false,
          "mapKey": null,
          "oneof": null,
          "personalData": false,
          "deprecated": false,
          "meaning": "The provider's id of the task. Opaque; unique within one connection."
        },
        {
          "name": "title",
          "jsonName": "title",
          "number": 2,
          "type": "string",
          "repeated": false,
          "mapKey": null,
          "oneof": null,
          "personalData": true,
          "deprecated": false,
          "meaning": "What is to be done, in the words of the person who wrote it."
        },
        {
          "name": "description",
          "jsonName": "description",
          "number": 3,
          "type": "string",
          "repeated": false,
          "mapKey": null,
          "oneof": null,
          "personalData": true,
          "deprecated": false,
          "meaning": "Longer notes; may hold the provider's markup. Empty when there are none."
        },
        {
          "name": "due",
          "jsonName": "due",
          "number": 4,
          "type": "tributary.task.v1.Due",
          "repeated": false,
          "mapKey": null,
          "oneof": null,
          "personalData": false,
          "deprecated": false,
          "meaning": "When the task is due. Absent when it has no due date."
        },
        {
          "name": "priority",
          "jsonName": "priority",
          "number": 5,
          "type": "tributary.task.v1.Priority",
          "repeated": false,
          "mapKey": null,
          "oneof": null,
          "personalData": false,
          "deprecated": false,
          "meaning": "How urgent the task is."
        },
        {
          "name": "labels",
          "jsonName": "labels",
          "number": 6,
          "type": "string",
          "repeated": true,
          "mapKey": null,
          "oneof": null,
          "personalData": true,
          "deprecated": false,
          "meaning": "The person's own labels, by name, in the provider's order."
        },
        {
          "name": "project_id",
          "jsonName": "projectId",
          "number": 7,
          "type": "string",
          "repeated": false,
          "mapKey": null,
          "oneof": null,
          "personalData": false,
          "deprecated": false,
          "meaning": "The provider's id of the project that holds the task. Empty when it is in none."
        },
        {
          "name": "parent_id",
          "jsonName": "parentId",
          "number": 8,
          "type": "string",
          "repeated": false,
          "mapKey": null,
          "oneof": null,
          "personalData": false,
          "deprecated": false,
          "meaning": "The provider's id of the task that this one is a step of. Empty at the top level."
        },
        {
          "name": "assignee_id",
          "jsonName": "assigneeId",
          "number": 9,
          "type": "string",
          "repeated": false,
          "mapKey": null,
          "oneof": null,
          "personalData": true,
          "deprecated": false,
          "meaning": "The provider's id of the person who is to do it. Empty when nobody is named."
        },
        {
          "name": "created_at",
          "jsonName": "createdAt",
          "number": 10,
          "type": "google.protobuf.Timestamp",
          "repeated": false,
          "mapKey": null,
          "oneof": null,
          "personalData": false,
          "deprecated": false,
          "meaning": "When the provider first stored the task."
        },
        {
          "name": "updated_at",
          "jsonName": "updatedAt",
          "number": 11,
          "type": "google.protobuf.Timestamp",
          "repeated": false,
          "mapKey": null,
          "oneof": null,
          "personalData": false,
          "deprecated": false,
          "meaning": "When the provider last changed the task."
        }
      ],
      "values": []
    }
  ]
};
