// XML as a tree, read strictly: enough to hold reports against the rules of their form.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "libopt/support/status.h"

namespace onnxtool::testing {

struct XmlElement {
  std::string name, text;  // of this element alone, entities resolved
  std::map<std::string, std::string> attributes;
  std::vector<XmlElement> children;
};

/// The root. Errors (kBadData): anything that is not well-formed, and what reports have no use for
/// (comments, CDATA, document types).
Result<XmlElement> parse_xml(const std::string& text);

}  // namespace onnxtool::testing
