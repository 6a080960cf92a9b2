/** Where the planted file lies. */
export const THING = "proto/tributary/thing/v1/thing.proto";

/** Every kind of promise that a contract can make and that today's do not. */
export const THING_TEXT = `syntax = "proto3";

// Things, for a test.
package tributary.thing.v1;

import "tributary/options/v1/options.proto";

// A thing happened.
message ThingHappened {
  option (tributary.options.v1.event_subject) = "thing.happened";
  reserved 9, 12 to 14;
  reserved "old_word";

  // How it feels.
  enum Mood {
    reserved 7;
    reserved "MOOD_OLD";
    // Not said.
    MOOD_UNSPECIFIED = 0;
    // Fine.
    MOOD_FINE = 1;
  }

  // A part of it.
  message Part {
    // Whose it is.
    string owner = 1 [(tributary.options.v1.personal_data) = true];
  }

  // By name.
  map<string, int32> counts = 1;
  // By name.
  map<string, Part> parts = 2;
  // One of two.
  oneof choice {
    // A word.
    string word = 3;
    // A number.
    int64 number = 4;
  }
  // The mood.
  Mood mood = 5;
  // A title.
  string title = 6;
  // A note, or none.
  optional string note = 7;
  // Another name in JSON.
  string colour = 8 [json_name = "hue"];
  // Many.
  repeated int32 many = 10;
}

// Serves things.
service ThingService {
  // Gets one.
  rpc GetThing(GetThingRequest) returns (GetThingResponse);
  // Watches them.
  rpc WatchThings(WatchThingsRequest) returns (stream WatchThingsResponse);
}

// Which.
message GetThingRequest {}

// The thing.
message GetThingResponse {
  // Its title.
  string title = 1;
}

// All.
message WatchThingsRequest {}

// A change.
message WatchThingsResponse {}
`;
