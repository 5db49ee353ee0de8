#include "tests/support/xml.h"

#include <cctype>

namespace onnxtool::testing {
namespace {

class Parser {
 public:
  explicit Parser(const std::string& text) : text_(text) {}

  Result<XmlElement> document() {
    const std::string head = "<?xml version=\"1.0\" encoding=\"UTF-8\"?>";
    if (!take(head)) return bad("the declaration is missing");
    space();
    ONNXTOOL_ASSIGN(XmlElement root, element());
    space();
    if (at_ != text_.size()) return bad("something follows the root");
    return root;
  }

 private:
  Error bad(const std::string& what) const {
    return {ErrorCode::kBadData, what + " at byte " + std::to_string(at_), {}};
  }
  bool take(const std::string& part) {
    if (text_.compare(at_, part.size(), part) != 0) return false;
    at_ += part.size();
    return true;
  }
  void space() {
    while (at_ < text_.size() && std::isspace(static_cast<unsigned char>(text_[at_]))) ++at_;
  }
  std::string word() {
    const size_t from = at_;
    while (at_ < text_.size() &&
           (std::isalnum(static_cast<unsigned char>(text_[at_])) || text_[at_] == '-'))
      ++at_;
    return text_.substr(from, at_ - from);
  }

  // Up to `end`, which stays; entities resolved.
  Result<std::string> characters(char end) {
    std::string out;
    while (at_ < text_.size() && text_[at_] != end) {
      const auto c = static_cast<unsigned char>(text_[at_]);
      if (c == '<') return bad("a bare <");
      if (c < 0x20 && c != '\t' && c != '\n' && c != '\r') return bad("a control character");
      if (c != '&') {
        out += text_[at_++];
        continue;
      }
      constexpr std::pair<const char*, char> kEntities[] = {{"&lt;", '<'},    {"&gt;", '>'},
                                                            {"&amp;", '&'},   {"&quot;", '"'},
                                                            {"&apos;", '\''}, {"&#39;", '\''}};
      bool known = false;
      for (const auto& [entity, meaning] : kEntities)
        if (!known && (known = take(entity))) out += meaning;
      if (!known) return bad("an unknown entity");
    }
    return out;
  }

  Result<XmlElement> element() {
    XmlElement e;
    if (!take("<")) return bad("an element was expected");
    e.name = word();
    for (space(); at_ < text_.size() && text_[at_] != '>' && text_[at_] != '/'; space()) {
      const std::string key = word();
      if (key.empty() || !take("=\"")) return bad("an attribute was expected");
      ONNXTOOL_ASSIGN(std::string value, characters('"'));
      if (!take("\"") || !e.attributes.emplace(key, std::move(value)).second)
        return bad("a broken or repeated attribute");
    }
    if (take("/>")) return e;
    if (!take(">")) return bad("an element is not closed");
    while (true) {
      ONNXTOOL_ASSIGN(const std::string text, characters('<'));
      e.text += text;
      if (take("</" + e.name + ">")) return e;
      if (at_ >= text_.size() || text_.compare(at_, 2, "</") == 0)
        return bad("an end tag is wrong");
      ONNXTOOL_ASSIGN(XmlElement child, element());
      e.children.push_back(std::move(child));
    }
  }

  const std::string& text_;
  size_t at_ = 0;
};

}  // namespace

Result<XmlElement> parse_xml(const std::string& text) { return Parser(text).document(); }

}  // namespace onnxtool::testing
